"""Formats runs, packed states, evaluations and networks as tables."""

import pathlib
from collections.abc import Sequence
from typing import Any

from packnet_tf.console import clock, table
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.export import Exported
from packnet_tf.storage.workdir import StateInfo
from packnet_tf.workflow.evaluate import Answer, Evaluated
from packnet_tf.workflow.session import Outcome

_ACCURACIES = (
    ("probe acc", "accuracy_probe"),
    ("trained acc", "accuracy_trained"),
    ("pruned acc", "accuracy_pruned"),
    ("retrained acc", "accuracy_retrained"),
    ("test acc", "test_accuracy"),
)


def share(value: Any, form: str = ".4f") -> str:
    """Returns a share as text with four digits, or a dash.

    Args:
        value: The share; anything but a number becomes a dash.
        form: Another form of the number.
    """
    return format(value, form) if _is_number(value) else "-"


def _is_number(value: Any) -> bool:
    # A program may have put anything into a manifest's figures.
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def size_of(path: pathlib.Path) -> int:
    """Returns the bytes that a file or folder takes."""
    if path.is_file():
        return path.stat().st_size
    return sum(p.stat().st_size for p in path.rglob("*") if p.is_file())


def megabytes(size: int) -> str:
    """Returns a size as text in units of a million bytes."""
    return f"{size / 1e6:.1f} MB"


def of_export(done: Exported) -> str:
    """Returns a line with an export's path, size and accuracy."""
    line = f"{done.path}  {megabytes(size_of(done.path))}"
    if done.difference is not None:
        line += f"  differs from Keras by {done.difference:.1e} at most"
    return line


def of_run(outcome: Outcome) -> str:
    """Returns the closing table of a run.

    For each task it has the validation accuracy after each phase (what
    pruning cost and retraining regained), the test accuracy, the time of each
    phase and the capacity left; below it, sizes on disk.

    Args:
        outcome: What `Session.run` returned.
    """
    state, model = outcome.state, outcome.saved_model
    if state is None:
        done = outcome.record.done if outcome.record is not None else ()
        return (
            f"{outcome.task}: {', '.join(done)} done, not packed; go on with "
            "apps/add_task.py, apps/prune.py or apps/retrain.py."
        )
    size = megabytes(size_of(state.path))
    lines = ["", of_state(state), "", f"packed state  {state.path}  ({size})"]
    if model is not None and model.exists():
        lines.append(f"SavedModel    {model}  ({megabytes(size_of(model))})")
    return "\n".join(lines)


def of_state(state: StateInfo) -> str:
    """Returns the tasks of a packed state as a table."""
    rows = []
    for task in state.tasks:
        metrics, seconds = task.metrics, task.facts.get("seconds")
        if not isinstance(seconds, dict):
            seconds = {}
        rows.append(
            [
                task.name,
                task.classes,
                *(share(metrics.get(key)) for _, key in _ACCURACIES),
                *(
                    clock(seconds[phase])
                    if _is_number(seconds.get(phase))
                    else "-"
                    for phase in ("train", "prune", "retrain")
                ),
                share(metrics.get("capacity_left"), ".1%"),
            ]
        )
    head = ["task", "classes", *(name for name, _ in _ACCURACIES)]
    head += ["train m:s", "prune m:s", "retrain m:s", "free after"]
    return table(head, rows)


def of_evaluation(rows: Sequence[Evaluated]) -> str:
    """Returns the tasks' test accuracies as a table.

    Below it is what is wrong with data that could not be read, one task per
    line.
    """
    notes = {row.task: row.note.partition(": ") for row in rows}
    cells = [
        [
            row.task,
            row.classes,
            row.images if row.images is not None else "-",
            share(row.accuracy)
            if row.accuracy is not None
            else notes[row.task][0],
            f"{row.owned:.1%}",
            f"{row.free_after:.1%}",
        ]
        for row in rows
    ]
    head = ["task", "classes", "images", "accuracy"]
    head += ["weights owned", "free after"]
    lines = [f"{task}: {why}." for task, (_, _, why) in notes.items() if why]
    return "\n".join([table(head, cells), *lines])


def of_classes(row: Evaluated) -> str:
    """Returns the accuracy of each class of a task as a table."""
    cells = [
        [
            line.name,
            line.images,
            share(line.right / line.images) if line.images else "-",
            f"{line.taken_for} {line.times}" if line.taken_for else "-",
        ]
        for line in row.by_class
    ]
    return table([row.task, "images", "accuracy", "most taken for"], cells)


def of_answers(answers: Sequence[Answer]) -> str:
    """Returns the answers for some images as a table.

    Below it are the images that could not be read, one per line.
    """
    cells = [
        [
            answer.image,
            *(f"{name} {score:.4f}" for name, score in answer.classes),
        ]
        for answer in answers
        if answer.classes
    ]
    lines = [f"{a.image}: {a.refusal}" for a in answers if not a.classes]
    if cells:
        places = [f"{i + 1}. class, score" for i in range(len(cells[0]) - 1)]
        lines.insert(0, table(["image", *places], cells))
    return "\n".join(lines)


def of_ownership(net: PackNet) -> str:
    """Returns the owners of every kernel's weights as a table."""
    names = {0: "(free)", **{t.owner: t.name for t in net.tasks}}
    cells = []
    for path, shape, counts in net.ownership():
        total = sum(counts.values()) or 1
        cells.append(
            [
                path,
                "x".join(map(str, shape)),
                *(f"{counts.get(o, 0) / total:.1%}" for o in names),
            ]
        )
    return table(["kernel", "shape", *names.values()], cells)
