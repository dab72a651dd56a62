"""Draws a network as one HTML page: owners, accuracy, training, capacity.

  python apps/report.py --workdir=runs/m
  python apps/report.py --workdir=runs/m --data=imagenet=PATH --png
  python apps/report.py --comparison=runs/compared

The page needs no other file and fetches nothing; --png writes its figures
beside it. Tasks whose test data is there are evaluated in every packed state;
--evaluate=false shows recorded accuracies instead, without test images.
--comparison shows what apps/compare.py found: accuracy against bytes.
It needs matplotlib: pip install "packnet_tf[report]".
"""

import os
import pathlib
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
    "comparison",
    str,
    None,
    Option(
        "Folder of a comparison, or its comparison.json: shown in place of a "
        "workdir.",
        basic=True,
    ),
)
run_flags.add(
    "output",
    str,
    None,
    Option(
        "The HTML file to write; by default report.html in the workdir or "
        "beside the comparison.",
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
    flag = flags.FLAGS
    if flag.comparison is not None:
        _show_comparison()
        return
    path = run_flags.workdir_path(writing=False)
    places = run_flags.pairs("data")
    check_batch_size(flag.batch_size, 1)
    fractions.validate_fraction(flag.prune_fraction, "prune_fraction")
    output = _output(path)
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


def _show_comparison() -> None:
    for name in ("workdir", "data", "state"):
        if flags.FLAGS[name].present:
            raise FlagError(
                f"--{name} has no effect with --comparison; leave one of the "
                "two out."
            )
    path = run_flags.path_of("comparison")
    output = _output(path if path.is_dir() else path.parent)
    style.check_matplotlib()
    process.load()

    from packnet_tf.compare.summary import read_summary
    from packnet_tf.report.write import write_comparison

    summary = read_summary(path)
    for file in write_comparison(summary, output, png=flags.FLAGS.png):
        print(file)


def _output(folder: pathlib.Path) -> pathlib.Path:
    """Returns the page's path, by default in a folder."""
    text = flags.FLAGS.output
    output = folder / "report.html"
    if text is not None:
        output = run_flags.path_of("output")
        if output.suffix not in (".html", ".htm") or output.is_dir():
            raise FlagError(
                f"--output={text}: expected a file that ends in .html."
            )
    check_writable(output.parent, "output")
    return output


if __name__ == "__main__":
    process.run(main, "workdir", unless="comparison")
