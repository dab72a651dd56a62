"""Shows who owns what, layer by layer, and how many more tasks fit.

  python apps/inspect.py --workdir=runs/m --prune_fraction=0.75

forecasts tasks that are pruned by that fraction.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.options import fractions

run_flags.define_state_flag()
run_flags.define_forecast_flag()


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    flag = flags.FLAGS
    fractions.validate_fraction(flag.prune_fraction, "prune_fraction")
    process.load()

    from packnet_tf.storage import states
    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import report

    net, state = states.load(Workdir(path), flag.state, origin=False)
    print(report.of_ownership(net))
    print()
    print(net.summary_of_tasks())
    print()
    print(fractions.forecast(net.capacity, flag.prune_fraction))
    print(f"packed state: {state.path}")


if __name__ == "__main__":
    process.run(main, "workdir")
