"""Runs apps one after another, each in a process of its own, cheaply.

Importing TensorFlow takes seconds. This program imports once, and forks for
every app that it is told to run: real processes, with exit codes and output,
without the wait. No TensorFlow device is touched before a fork.
"""

import errno
import json
import os
import pathlib
import resource
import runpy
import signal
import socket
import sys
import time
import traceback

ROOT = pathlib.Path(__file__).resolve().parents[2]


# What Python does to files, as its audit hooks call it.
_REMOVES = ("os.remove", "os.rmdir")
_WRITES = ("open", "os.rename", "os.mkdir", *_REMOVES)

# Seconds after which workers must have noticed that another one has ended.
_PATIENCE = 120


def _fault_at(
    below,
    die_at=None,
    interrupt_at=None,
    full_at=None,
    read_only_at=None,
    gone_at=None,
):
    """Counts how often this process touches files, and makes that fail.

    Args:
        below: The folder of the files.
        die_at: The touch before which the process ends by SIGKILL.
        interrupt_at: The touch before which Ctrl-C is pressed.
        full_at: The touch from which on the disk is full: nothing can be
            written any more, and what is there can be removed.
        read_only_at: The touch from which on nothing can be changed.
        gone_at: The touch before which the folder is taken away: it is
            called `taken` then, beside where it was.

    Returns:
        A list that grows with every touch.
    """
    touches = []

    def hook(event, arguments):
        if event not in _WRITES or below not in str(arguments[0]):
            return
        if event == "open" and not arguments[2] & (os.O_WRONLY | os.O_RDWR):
            return
        touches.append(event)
        now = len(touches)
        if now == die_at:
            os.kill(os.getpid(), signal.SIGKILL)
        if now == interrupt_at:
            os.kill(os.getpid(), signal.SIGINT)
        if now == gone_at:
            # This calls the hook again, which finds nothing to do.
            os.rename(below, pathlib.Path(below).with_name("taken"))
        if read_only_at is not None and now >= read_only_at:
            _fail(errno.EROFS, arguments[0])
        if full_at is not None and now >= full_at and event not in _REMOVES:
            _fail(errno.ENOSPC, arguments[0])

    sys.addaudithook(hook)
    return touches


def _fail(number, path):
    raise OSError(number, os.strerror(number), str(path))


def _cluster(count):
    """Returns the TF_CONFIG of each of so many workers on this machine."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    workers = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    return [
        json.dumps(
            {
                "cluster": {"worker": workers},
                "task": {"type": "worker", "index": index},
            }
        )
        for index in range(count)
    ]


def _wait(child, number, due):
    """Waits for a process, which gets a signal when something is due."""
    if due is not None:
        while not due():
            if os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                break
            time.sleep(0.002)
        else:
            os.kill(child, number)
    return os.waitpid(child, 0)[1]


def _after(seconds):
    """Returns what says whether so many seconds have passed from now on."""
    end = time.monotonic() + seconds
    return lambda: time.monotonic() >= end


def _run(app, arguments, stdout, stderr, below=None, largest=None, **faults):
    """Becomes the app; never returns."""
    if largest is not None:
        # Whoever writes it, native code too.
        resource.setrlimit(resource.RLIMIT_FSIZE, (largest, largest))
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        file = os.open(path, os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
        os.dup2(file, descriptor)
    # A shell's background jobs ignore Ctrl-C, and hand that on.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = [str(ROOT / "apps" / app), *arguments]
    code = 0
    touches = _fault_at(below, **faults) if below else []
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
    count = len(touches)
    pathlib.Path(f"{stdout}.touches").write_text(str(count))
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.chdir(ROOT)
    sys.path[0] = str(ROOT)
    import packnet_tf.workflow.evaluate
    import packnet_tf.workflow.report
    import packnet_tf.workflow.session  # noqa: F401

    for line in sys.stdin:
        start = time.monotonic()
        task = json.loads(line)
        kill_after = task.pop("kill_after", None)
        sent, after = task.pop("signal_after", [signal.SIGKILL, kill_after])
        kill_when = task.pop("kill_when", None)
        arguments = task.pop("victims_arguments", [])
        count, victim = task.pop("workers", 1), task.pop("victim", 0)
        clusters = _cluster(count) if count > 1 else [None]
        children = []
        for index, cluster in enumerate(clusters):
            child = os.fork()
            if child == 0:
                if index:
                    for name in ("stdout", "stderr"):
                        task[name] += f".{index}"
                if cluster is not None:
                    os.environ["TF_CONFIG"] = cluster
                if index == victim:
                    task["arguments"] += arguments
                else:
                    task["below"] = None
                _run(**task)
            children.append(child)
        order = [children.pop(victim), *children]
        due = None if after is None else _after(after)
        if kill_when is not None:
            due = pathlib.Path(kill_when).exists
        statuses = [_wait(order[0], sent, due)]
        # Those left behind by one that was killed must end by themselves.
        due = _after(_PATIENCE) if statuses[0] else None
        for child in order[1:]:
            statuses.append(_wait(child, signal.SIGKILL, due))
        statuses.insert(victim, statuses.pop(0))
        codes = [os.waitstatus_to_exitcode(status) for status in statuses]
        answer = {"code": codes[victim], "seconds": time.monotonic() - start}
        if count > 1:
            answer["codes"] = codes
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
