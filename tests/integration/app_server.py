"""Runs apps one after another, each in a process of its own, cheaply.

Importing TensorFlow takes seconds. This program imports once, and forks for
every app that it is told to run: real processes, with exit codes and output,
without the wait. No TensorFlow device is touched before a fork.
"""

import json
import os
import pathlib
import runpy
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


def _run(app, arguments, stdout, stderr):
    """Becomes the app; never returns."""
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, descriptor)
    sys.argv = [str(ROOT / "apps" / app), *arguments]
    code = 0
    try:
        runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as end:
        # As Python itself does at the end of a process.
        if isinstance(end.code, str):
            sys.stderr.write(f"{end.code}\n")
        code = end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        code = 1
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)
    import packnet_tf.evaluation
    import packnet_tf.report
    import packnet_tf.session  # noqa: F401

    for line in sys.stdin:
        start = time.monotonic()
        child = os.fork()
        if child == 0:
            _run(**json.loads(line))
        _, status = os.waitpid(child, 0)
        seconds = time.monotonic() - start
        code = os.waitstatus_to_exitcode(status)
        answers.write(json.dumps({"code": code, "seconds": seconds}) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
