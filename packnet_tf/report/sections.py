"""Puts the figures of a reading in order, and says what is missing."""

import numpy as np

from packnet_tf import metrics
from packnet_tf.report import figures, task_figures
from packnet_tf.report.page import Section, Table
from packnet_tf.report.reading import Reading
from packnet_tf.workflow.report import share


def sections_of(reading: Reading) -> list[Section]:
    """Returns the parts of the page."""
    return [
        _overview(reading),
        _owners(reading),
        _accuracy(reading),
        _training(reading),
        _capacity(reading),
        _sizes(reading),
        _test_images(reading),
    ]


def _overview(reading: Reading) -> Section:
    rows = []
    for task in reading.tasks:
        accuracy = reading.accuracies.matrix[-1, task.owner - 1]
        rows.append(
            [
                task.name,
                task.classes or "no head",
                share(None if np.isnan(accuracy) else accuracy),
                f"{reading.capacity[task.owner - 1]:.1%}",
                f"{reading.free[task.owner - 1]:.1%}",
            ]
        )
    versions = reading.state.manifest.versions
    text = [
        f"Workdir {reading.workdir}, packed state {reading.state.path.name}, "
        f"written with packnet_tf {versions.get('packnet_tf', '?')}, "
        f"TensorFlow {versions.get('tensorflow', '?')} and Keras "
        f"{versions.get('keras', '?')}."
    ]
    found = reading.accuracies.summary()
    if found is not None:
        average, forgotten, transfer = found
        known = [reading.tasks[i].name for i in reading.accuracies.known]
        text.append(
            f"Average accuracy {average:.4f}, forgetting {share(forgotten)}, "
            f"backward transfer {share(transfer)}, over {', '.join(known)}."
        )
    weights = sum(reading.owned.values())
    bits = metrics.bits_per_weight(reading.sizes[-1].network, weights)
    text.append(
        f"{weights:,} shared weights; all tasks together take {bits:.1f} bits "
        "on disk for each of them."
    )
    head = ["task", "classes", "test accuracy", "weights", "free after"]
    table = Table("The tasks, in the order added", head, rows)
    return Section("overview", "Overview", text, table=table)


def _owners(reading: Reading) -> Section:
    return Section(
        "owners",
        "Who owns which weights",
        pictures=figures.ownership(reading),
    )


def _accuracy(reading: Reading) -> Section:
    picture = figures.accuracy(reading)
    names = {task.owner: task.name for task in reading.tasks}
    missing = [
        f"No test accuracy of {names[owner]}: {why}."
        for owner, why in reading.accuracies.missing.items()
    ]
    return Section(
        "accuracy",
        "Accuracy of every task in every state",
        pictures=[picture] if picture is not None else [],
        missing=missing,
    )


def _training(reading: Reading) -> Section:
    missing = [
        f"No training curve of {task.name}: its manifest has no history of "
        "epochs; the program that packed it kept none, or trained none."
        for task, curve in zip(reading.tasks, reading.curves, strict=True)
        if curve is None
    ]
    return Section(
        "training",
        "Training",
        pictures=[task_figures.curve(c) for c in reading.curves if c],
        missing=missing,
    )


def _capacity(reading: Reading) -> Section:
    count = len(reading.room)
    return Section(
        "capacity",
        "Capacity left",
        [
            f"{reading.free[-1]:.1%} of the weights are free: room for {count} "
            "more task(s) that each keep 0.1% or more, if each is pruned by "
            f"{reading.prune_fraction:g}."
        ],
        [figures.capacity(reading)],
    )


def _sizes(reading: Reading) -> Section:
    missing = []
    if all(size.served is None for size in reading.sizes):
        missing = ["No size of a SavedModel: the workdir has none."]
    return Section(
        "sizes",
        "Size beside separate networks",
        pictures=[figures.sizes(reading)],
        missing=missing,
    )


def _test_images(reading: Reading) -> Section:
    pictures = []
    for found in reading.recognition:
        pictures.append(task_figures.confusion(found))
        images = task_figures.worst(found)
        if images is not None:
            pictures.append(images)
    shown = {found.task for found in reading.recognition}
    missing = [
        f"No test images of {task.name}: {reading.untested[task.owner]}."
        for task in reading.tasks
        if task.name not in shown
    ]
    return Section(
        "test-images", "Test images", pictures=pictures, missing=missing
    )
