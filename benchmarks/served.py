"""What a workdir's SavedModel answers: from image files, and by `auto`.

  python benchmarks/served.py --workdir=runs/m

For every task whose test data is there, a table of three shares:

- `evaluate`: of right answers, as `apps/evaluate.py` counts them;
- `from bytes`: of right answers by `<task>_bytes`, to which the encoded files
  of the same images are sent. If it is not exactly the same, the command says
  so and fails;
- `auto`: of images whose own task `auto` picks, and of images that it then
  answers rightly.

`auto` sees pixels, and who asks it cannot know how a task's images were
resized. So it is asked twice: with every image as its own task has it, and
with all images resized the same way, that of image folders.
"""

import os
import pathlib
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np
import tensorflow as tf
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))


from packnet_tf.console import table
from packnet_tf.data import Preprocessing, evaluation, reopen
from packnet_tf.data.pipeline import evaluation_order
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.evaluate import evaluate_tasks
from packnet_tf.workflow.report import share

_WORKDIR = flags.DEFINE_string("workdir", None, "The workdir.")
_NAME = flags.DEFINE_string("model_name", "packnet", "The served model.")
_VERSION = flags.DEFINE_integer("version", None, "Its version; the newest.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images a request.")
flags.mark_flag_as_required("workdir")


def right_from_bytes(signature, source, names):
    """Returns the share of files that a task answers rightly."""
    right, order = 0, evaluation_order(source)
    for begin in range(0, len(order), _BATCH.value):
        places = order[begin : begin + _BATCH.value]
        files = [source.encoded(place) for place in places]
        found = signature(image_bytes=tf.constant(files))
        best = np.argmax(found["scores"], 1)
        # By name, as a client would.
        answers = np.take_along_axis(
            found["classes"].numpy(), best[:, None], 1
        )[:, 0]
        right += sum(
            answer.decode() == names[label]
            for answer, label in zip(
                answers, source.labels[places], strict=True
            )
        )
    return right / len(order)


def asked_auto(signature, source, size, how, task, names):
    """Returns the shares of images with the right task, and the right answer.

    And how many each task answered.
    """
    picked, right, counts = 0, 0, {}
    for images, labels in evaluation(source, size, _BATCH.value, how):
        found = signature(images=images)
        best = np.argmax(found["scores"], 1)
        classes = found["classes"].numpy()
        for row, name in enumerate(found["task"].numpy()):
            name = name.decode()
            counts[name] = counts.get(name, 0) + 1
            if name == task:
                picked += 1
                answer = classes[row, best[row]].decode()
                right += answer == names[int(labels[row])]
    return picked / len(source), right / len(source), counts


def main(_):
    logging.set_verbosity(logging.WARNING)
    workdir = Workdir(_WORKDIR.value)
    state = workdir.state(_VERSION.value)
    size = workdir.run.image_size
    served = tf.saved_model.load(
        workdir.serving_path / _NAME.value / str(state.number)
    )
    auto = served.signatures["auto"]
    preprocessing = {task.name: task.preprocessing for task in state.tasks}
    cells, notes, different = [], [], []
    for row in evaluate_tasks(
        workdir, which=state.number, batch_size=_BATCH.value
    ):
        if row.accuracy is None:
            notes.append(f"{row.task}: {row.note}")
            continue
        record = state.task(row.task)
        facts = record.data_facts
        source = reopen(row.task, facts).test
        names = source.class_names
        files = None
        if hasattr(source, "encoded"):
            files = right_from_bytes(
                served.signatures[f"{row.task}_bytes"], source, names
            )
            if files != row.accuracy:
                different.append(row.task)
        found = []
        for how in (preprocessing[row.task], Preprocessing()):
            *shares, counts = asked_auto(
                auto, source, size, how, row.task, names
            )
            found += shares
            notes.append(
                f"{row.task}, {how.resize}: answered by "
                + ", ".join(f"{n} {c}" for n, c in sorted(counts.items()))
            )
        cells.append(
            [
                row.task,
                row.images,
                share(row.accuracy),
                share(files),
                *map(share, found),
            ]
        )
    head = ["task", "images", "evaluate", "from bytes"]
    head += ["auto: task", "and class", "resized alike: task", "and class"]
    print(table(head, cells))
    print("\n".join(notes))
    if different:
        sys.exit(f"From bytes otherwise than evaluated: {different}")


if __name__ == "__main__":
    app.run(main)
