"""Draws a network as one HTML page: owners, accuracy, training, capacity.

  python apps/report.py --workdir=runs/m
  python apps/report.py --workdir=runs/m --data=imagenet=PATH --png

The page needs no other file and fetches nothing; --png writes its figures
beside it. Tasks whose test data is there are evaluated in every packed state;
--evaluate=false shows recorded accuracies instead, without test images.
It needs matplotlib: pip install "packnet_tf[report]".
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import FlagError
from packnet_tf.options import fractions
from packnet_tf.options.fields import Option
from packnet_tf.options.task import check_batch_size
from packnet_tf.options.workdir import check_writable
from packnet_tf.report import style

run_flags.define_state_flag()
run_flags.add(
    "output",
    str,
    None,
    Option(
        "The HTML file to write; by default report.html in the workdir.",
        basic=True,
    ),
)
run_flags.add(
    "png",
    bool,
    False,
    Option("Whether to write each figure as a PNG file too.", basic=True),
)
run_flags.add(
    "evaluate",
    bool,
    True,
    Option(
        "Whether to evaluate tasks whose test data is there, in every state.",
        basic=True,
    ),
)
run_flags.define_test_data_flags()
run_flags.define_forecast_flag()


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    places = run_flags.pairs("data")
    flag = flags.FLAGS
    check_batch_size(flag.batch_size, 1)
    fractions.validate_fraction(flag.prune_fraction, "prune_fraction")
    output = path / "report.html"
    if flag.output is not None:
        output = run_flags.path_of("output")
        if output.suffix not in (".html", ".htm") or output.is_dir():
            raise FlagError(
                f"--output={flag.output}: expected a file that ends in .html."
            )
    check_writable(output.parent, "output")
    if places and not flag.evaluate:
        raise FlagError(
            "--data has no effect with --evaluate=false; leave it out."
        )
    style.check_matplotlib()
    process.load()

    from packnet_tf import console
    from packnet_tf.report.reading import read
    from packnet_tf.report.write import write_report
    from packnet_tf.storage.workdir import Workdir

    with console.bar("evaluating", keep=False) as progress:
        found = read(
            Workdir(path),
            flag.state,
            evaluate=flag.evaluate,
            places=places,
            data_dir=flag.data_dir,
            batch_size=flag.batch_size,
            prune_fraction=flag.prune_fraction,
            progress=progress,
        )
    for file in write_report(found, output, png=flag.png):
        print(file)


if __name__ == "__main__":
    process.run(main, "workdir")
