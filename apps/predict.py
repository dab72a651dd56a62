"""Classifies an image, or every image of a folder, with one task.

  python apps/predict.py --workdir=runs/m --task=birds --images=bird.jpg

shows the best classes of each image with their scores. Files of a folder that
cannot be read are listed, the others are answered, and the exit code is 1.
"""

import os
import sys

# From the project's root: this folder has an inspect.py, as Python has.
sys.path[0] = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

from absl import flags

from apps import process, run_flags
from packnet_tf.errors import DataError, FlagError
from packnet_tf.options.fields import Option

run_flags.add("task", str, None, Option("The task that answers.", basic=True))
run_flags.add(
    "images",
    str,
    None,
    Option("An image file, or a folder of images.", basic=True),
)
run_flags.add(
    "top",
    int,
    3,
    Option("How many classes to show for each image.", basic=True),
)
run_flags.define_state_flag()


def main() -> None:
    path = run_flags.workdir_path(writing=False)
    flag = flags.FLAGS
    if flag.top < 1:
        raise FlagError(f"--top={flag.top}: expected 1 or more.")
    process.load()

    from packnet_tf.storage.workdir import Workdir
    from packnet_tf.workflow import report
    from packnet_tf.workflow.evaluate import predict_files

    answers = predict_files(
        Workdir(path), flag.task, flag.images, top=flag.top, which=flag.state
    )
    print(report.of_answers(answers), flush=True)
    refused = [answer for answer in answers if answer.refusal]
    if refused:
        raise DataError(
            f"{len(refused)} of {len(answers)} images cannot be read, first "
            f"{refused[0].image}: {refused[0].refusal}"
        )


if __name__ == "__main__":
    process.run(main, "workdir", "task", "images")
