"""Draws what is true of one task: its training, and its test images."""

import numpy as np

from packnet_tf.report import style
from packnet_tf.report.curves import LOSS, Curve
from packnet_tf.report.page import Picture, Table
from packnet_tf.report.recognition import Recognition

# Classes whose names can be read beside a matrix, and whose numbers in it.
_NAMED, _COUNTED = 40, 20
# Pairs of classes in the table of a matrix with more classes than that.
_PAIRS = 30
_COLUMNS = 6

_NAMES = {
    "accuracy": "training accuracy",
    "val_accuracy": "validation accuracy",
}
_LINES = {
    "accuracy": {"color": style.ORANGE, "linestyle": "--", "marker": "o"},
    "val_accuracy": {"color": style.BLUE, "marker": "s"},
    LOSS: {"color": style.VERMILION, "marker": "^"},
}


def curve(found: Curve) -> Picture:
    """Draws loss, accuracies and the pruned share over a task's epochs."""
    panels = [LOSS] if LOSS in found.series else []
    accuracies = [name for name in _NAMES if name in found.series]
    panels += ["accuracy"] if accuracies else []
    panels += ["pruned"]
    figure = style.new_figure(0.7 + 0.95 * len(panels))
    rows = dict(
        zip(
            panels,
            np.atleast_1d(figure.subplots(len(panels), sharex=True)),
            strict=True,
        )
    )
    epochs = np.arange(1, found.epochs + 1)
    # Markers only where they can be told apart.
    every = {"markersize": 3} if found.epochs <= 60 else {"marker": ""}
    if LOSS in rows:
        rows[LOSS].plot(epochs, found.series[LOSS], **_LINES[LOSS] | every)
        rows[LOSS].set_ylabel("training loss")
    if accuracies:
        axes = rows["accuracy"]
        for name in accuracies:
            how = _LINES[name] | every
            axes.plot(epochs, found.series[name], label=_NAMES[name], **how)
        retrains = [s for s in found.spans if s.phase == "retrain"]
        if found.after_pruning is not None and retrains:
            axes.plot(
                [retrains[-1].start + 0.5],
                [found.after_pruning],
                "k*",
                label="validation, just pruned",
            )
        axes.set_ylabel("accuracy")
        axes.legend(fontsize=7)
    axes = rows["pruned"]
    edges = np.arange(found.epochs + 1) + 0.5
    axes.stairs(
        found.pruned, edges, baseline=None, color=style.GREEN, linewidth=2
    )
    axes.set_ylim(-0.05, 1.05)
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("pruned")
    axes.set_xlabel("epoch")
    axes.xaxis.get_major_locator().set_params(integer=True)
    axes.set_xlim(0.5, found.epochs + 0.5)
    for panel in rows.values():
        for span in found.spans[1:]:
            panel.axvline(span.start + 0.5, color="black", linewidth=0.8)
    top = next(iter(rows.values()))
    for span in found.spans:
        # Beginning at its border: short phases are narrower than their names.
        top.annotate(
            span.phase,
            (span.start + 0.5, 1),
            (2, 2),
            xycoords=("data", "axes fraction"),
            textcoords="offset points",
            fontsize=8,
        )
    names = [*found.series, "pruned"]
    columns = [*found.series.values(), found.pruned]
    phases = [s for s in found.spans for _ in range(s.start, s.stop)]
    told = ", ".join(
        f"{s.phase} {s.stop - s.start} epoch(s)" for s in found.spans
    )
    last = "; ".join(
        f"{_NAMES.get(name, 'training loss')} {values[-1]:.3f}"
        for name, values in found.series.items()
        if not np.isnan(values[-1])
    )
    return Picture(
        f"training-{found.task}",
        f"Lines over the epochs of {found.task}: {told}. At the end: {last}; "
        f"pruned {found.pruned[-1]:.0%}.",
        f"Training of {found.task}. Upright lines are borders of phases. The "
        "lowest panel is the share of the task's own weights that is pruned.",
        figure,
        Table(
            f"Epochs of {found.task}",
            ["epoch", "phase", *(_NAMES.get(n, n) for n in names)],
            [
                [
                    i + 1,
                    span.phase,
                    *(
                        "-" if np.isnan(column[i]) else f"{column[i]:.4f}"
                        for column in columns
                    ),
                ]
                for i, span in enumerate(phases)
            ],
        ),
    )


def confusion(found: Recognition) -> Picture:
    """Draws how often each class of a task was taken for each."""
    counts, names = found.confusion, found.class_names
    classes = len(names)
    rates = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    figure = style.new_figure(min(7.0, max(2.6, 1.6 + 0.28 * classes)))
    axes = figure.subplots()
    image = axes.imshow(
        rates,
        cmap=style.SHADES,
        # A mistake is rare, and is to be seen.
        norm=style.square_root(),
        aspect="auto",
        interpolation="nearest",
    )
    if classes <= _COUNTED:
        for i, j in zip(*np.nonzero(counts), strict=True):
            style.label(axes, j, i, str(counts[i, j]), size=6)
    if classes <= _NAMED:
        size = 8 if classes <= _COUNTED else 6
        labels = [style.short(name) for name in names]
        axes.set_xticks(range(classes), labels, rotation=90, fontsize=size)
        axes.set_yticks(range(classes), labels, fontsize=size)
    number = "" if classes <= _NAMED else ", by number"
    axes.set_xlabel(f"answer{number}")
    axes.set_ylabel(f"true class{number}")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="share of the true class")
    wrong = counts.copy()
    np.fill_diagonal(wrong, 0)
    order = np.argsort(-wrong, axis=None, kind="stable")[:_PAIRS]
    pairs = [
        (int(i), int(j))
        for i, j in zip(*np.unravel_index(order, wrong.shape), strict=True)
        if wrong[i, j]
    ]
    right, images = int(np.trace(counts)), int(counts.sum())
    most = (
        f"The most frequent mistake: {_pair(found, *pairs[0])}."
        if pairs
        else "There is no mistake."
    )
    if classes <= _COUNTED:
        table = Table(
            f"{found.task}: images by true class (rows) and answer (columns)",
            ["true class", *names],
            [[name, *row] for name, row in zip(names, counts, strict=True)],
        )
    else:
        table = Table(
            f"{found.task}: the {len(pairs)} most frequent mistakes",
            ["true class", "answer", "images"],
            [[names[i], names[j], wrong[i, j]] for i, j in pairs],
        )
    return Picture(
        f"confusion-{found.task}",
        f"Confusion matrix of {found.task}, {classes} classes: {right} of "
        f"{images} test images are right. {most}",
        f"What each class of {found.task} is taken for. A row is the images "
        "of one true class; the darker, the larger their share. Mistakes are "
        "off the diagonal.",
        figure,
        table,
    )


def _pair(found: Recognition, i: int, j: int) -> str:
    names, row = found.class_names, found.confusion[i]
    return f"{names[i]} taken for {names[j]}, {row[j]} of {row.sum()} times"


def worst(found: Recognition) -> Picture | None:
    """Draws a task's worst recognized test images, if it has any."""
    images, names = found.worst, found.class_names
    if not images:
        return None
    rows = -(-len(images) // _COLUMNS)
    figure = style.new_figure(1.65 * rows)
    for axes in figure.subplots(rows, _COLUMNS, squeeze=False).flat:
        axes.set_axis_off()
    for axes, one in zip(figure.axes, images, strict=False):
        axes.imshow(one.pixels, interpolation="nearest")
        own, other = style.short(names[one.label]), names[one.answer]
        axes.set_title(
            f"{own}\n→ {style.short(other)}\n{one.score:.3f}", fontsize=7
        )
    first = images[0]
    return Picture(
        f"worst-{found.task}",
        f"{len(images)} thumbnails of test images of {found.task}. The worst "
        f"recognized is of {names[first.label]}, taken for "
        f"{names[first.answer]}; its own class has the score "
        f"{first.score:.3f}.",
        f"The worst recognized test images of {found.task}, as the network "
        "sees them: the true class, the answer, and the score of the true "
        "class.",
        figure,
        Table(
            f"{found.task}: the worst recognized test images",
            ["image", "true class", "answer", "score of the true class"],
            [
                [
                    one.image,
                    names[one.label],
                    names[one.answer],
                    f"{one.score:.4f}",
                ]
                for one in images
            ],
        ),
    )
