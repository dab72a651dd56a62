"""Checks that a workdir is as it was when its tasks were packed.

  python apps/verify.py --workdir=runs/m

recomputes the digest of every file and of every task, compares masks with
weights and heads with tasks, and asks every task again about the images that
each packed state keeps, by its network and by its SavedModel. It changes
nothing, waits for nobody, and exits with code 1 if anything differs.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from apps import process, run_flags
from packnet_tf.errors import StateError


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    process.load()

    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow.verify import verify

    report = verify(Workdir(path))
    if not report.findings:
        raise StateError(f"{path} holds nothing to verify; add a task first.")
    print(report, flush=True)
    failed = [finding for finding in report.findings if not finding.ok]
    if failed:
        raise StateError(
            f"{len(failed)} of {len(report.findings)} checks failed, first: "
            f"{failed[0].text}"
        )
    print(f"{len(report.findings)} checks: everything is as it was.")


if __name__ == "__main__":
    process.run(main, "workdir")
