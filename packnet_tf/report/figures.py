"""Draws what is true of the whole network: owners, accuracy, room, sizes."""

from collections.abc import Sequence

import numpy as np

from packnet_tf.report import style
from packnet_tf.report.page import Picture, Table
from packnet_tf.report.reading import KernelOwners, Reading
from packnet_tf.workflow.report import megabytes, share

# Bars that fit on a printed page.
_MOST_BARS = 40
# Inches of a bar, and of what is around the bars.
_BAR, _AROUND = 0.2, 1.0
# Signs in a line of a legend.
_LEGEND = 90
# Tasks whose names, and states whose numbers, fit side by side.
_SIDE_BY_SIDE, _NUMBERED = 7, 15
# A share that is wide enough for its label.
_LABELLED = 0.07


def ownership(reading: Reading) -> list[Picture]:
    """Draws who owns how much of each kernel, on as many pages as it takes."""
    kernels = reading.kernels
    whole = KernelOwners(
        "all kernels",
        sum(k.weights for k in kernels),
        np.array([reading.free[-1], *reading.capacity]),
    )
    pages = -(-len(kernels) // _MOST_BARS)
    found = []
    for page in range(pages):
        shown = kernels[page * _MOST_BARS : (page + 1) * _MOST_BARS]
        number = f"-{page + 1}" if pages > 1 else ""
        part = f" (part {page + 1} of {pages})" if pages > 1 else ""
        found.append(_owners(reading, [whole, *shown], number, part))
    return found


def _owners(
    reading: Reading, kernels: Sequence[KernelOwners], number: str, part: str
) -> Picture:
    names = [task.name for task in reading.tasks]
    labels = ["free", *_labels(reading)]
    columns = _LEGEND // (4 + max(map(len, labels)))
    legend = _BAR * (len(names) // columns)
    figure = style.new_figure(_AROUND + legend + _BAR * len(kernels))
    axes = figure.subplots()
    places = np.arange(len(kernels))
    left = np.zeros(len(kernels))
    for owner in [*range(1, len(names) + 1), 0]:
        shares = np.array([kernel.shares[owner] for kernel in kernels])
        axes.barh(
            places,
            shares,
            left=left,
            label=labels[owner],
            **style.look_of(owner),
        )
        for place in np.flatnonzero(shares >= _LABELLED).tolist():
            middle = left[place] + shares[place] / 2
            style.label(axes, middle, place, f"{shares[place]:.0%}")
        left += shares
    axes.set_yticks(places, [kernel.path for kernel in kernels], fontsize=7)
    axes.set_xlim(0, 1)
    axes.set_ylim(len(kernels) - 0.5, -0.5)
    axes.xaxis.set_major_formatter("{x:.0%}")
    axes.set_xlabel("share of the kernel's weights")
    figure.legend(loc="outside upper left", ncols=columns)
    total = ", ".join(
        f"{name} {value:.1%}"
        for name, value in zip(
            [*names, "free"], [*reading.capacity, reading.free[-1]], strict=True
        )
    )
    return Picture(
        f"ownership{number}",
        f"Stacked bars, one for each kernel{part}. Of all weights: {total}.",
        f"Who owns how much of each kernel{part}. Each bar is a kernel, in the "
        "order of the network; the first is all of them together.",
        figure,
        Table(
            f"Weights of each kernel by owner{part}",
            ["kernel", "weights", *names, "free"],
            [
                [
                    kernel.path,
                    f"{kernel.weights:,}",
                    *(f"{value:.1%}" for value in kernel.shares[1:]),
                    f"{kernel.shares[0]:.1%}",
                ]
                for kernel in kernels
            ],
        ),
    )


def accuracy(reading: Reading) -> Picture | None:
    """Draws the accuracy of every task in every state, if any is known."""
    matrix = reading.accuracies.matrix
    if np.all(np.isnan(matrix)):
        return None
    names = [task.name for task in reading.tasks]
    count = len(names)
    figure = style.new_figure(min(9.0, max(1.8, 1.2 + 0.35 * count)))
    axes = figure.subplots()
    image = axes.imshow(
        np.ma.masked_invalid(matrix),
        cmap=style.SHADES,
        vmin=0,
        vmax=1,
        aspect="auto",
    )
    cells = np.transpose(np.tril_indices(count)).tolist()
    for i, j in cells if count <= _NUMBERED else ():
        # Recorded values are in brackets.
        text = share(_or_none(matrix[i, j]), ".3f")
        if text != "-" and not reading.accuracies.measured[i, j]:
            text = f"({text})"
        style.label(axes, j, i, text, 7 if count <= _SIDE_BY_SIDE else 5)
    labels = _labels(reading)
    axes.set_yticks(range(count), labels)
    # Further ones by their numbers, which the rows explain.
    few = count <= _SIDE_BY_SIDE
    numbers = [str(task.owner) for task in reading.tasks]
    axes.set_xticks(range(count), labels if few else numbers)
    axes.set_xlabel("task")
    axes.set_ylabel("packed state")
    axes.spines[:].set_visible(False)
    figure.colorbar(image, label="test accuracy")
    known = [i for i in range(count) if not np.isnan(matrix[-1, i])]
    newest = ", ".join(f"{names[i]} {matrix[-1, i]:.3f}" for i in known)
    rows = [
        [
            f"{i + 1} {names[i]}",
            *(
                "" if j > i else share(_or_none(matrix[i, j]))
                for j in range(count)
            ),
        ]
        for i in range(count)
    ]
    return Picture(
        "accuracy",
        f"Heat map of test accuracy, packed states by tasks; {_changes(matrix)}"
        f" In the newest state: {newest or 'none is known'}.",
        "Test accuracy of every task in every packed state. Read down a "
        "column: it is what one task's accuracy became while others were "
        "added. A number in brackets was recorded when the task was packed, "
        "and its digest is the same in that state; the others were measured "
        "for this page. A dash is not known.",
        figure,
        Table(
            "Test accuracy by packed state and task", ["state", *names], rows
        ),
    )


def _labels(reading: Reading) -> list[str]:
    """Returns the tasks' numbers and names, as short as figures need them."""
    return [f"{t.owner} {style.short(t.name)}" for t in reading.tasks]


def _changes(matrix: np.ndarray) -> str:
    """Returns a sentence on whether any task changed its accuracy."""
    columns = [column[~np.isnan(column)] for column in matrix.T]
    if all(np.all(column == column[0]) for column in columns if len(column)):
        return "no task's accuracy changes from state to state."
    return "some accuracies change from state to state."


def _or_none(value: float) -> float | None:
    return None if np.isnan(value) else value


def capacity(reading: Reading) -> Picture:
    """Draws the free share after each task, and what further tasks find."""
    names = [task.name for task in reading.tasks]
    free = reading.free
    # As many as can be told apart.
    shown = reading.room[: max(10, len(names))]
    left = free[-1] - np.cumsum(shown)
    figure = style.new_figure(2.6)
    axes = figure.subplots()
    places = np.arange(len(names) + len(shown))
    axes.bar(
        places[: len(names)],
        free,
        color=style.BLUE,
        edgecolor="black",
        linewidth=0.4,
        label="now",
    )
    if len(shown):
        axes.bar(
            places[len(names) :],
            left,
            facecolor="white",
            edgecolor="black",
            hatch="///",
            linewidth=0.6,
            label=f"forecast, pruned by {reading.prune_fraction:g}",
        )
    bars = [*free, *left]
    for place, value in enumerate(bars if len(bars) <= _NUMBERED else []):
        style.label_above(axes, place, value, f"{value:.1%}")
    further = [f"+{i + 1}" for i in range(len(shown))]
    axes.set_xticks(
        places,
        [*_labels(reading), *further],
        rotation=45,
        ha="right",
        fontsize=7,
    )
    axes.yaxis.set_major_formatter("{x:.0%}")
    axes.set_ylabel("free weights")
    axes.margins(y=0.15)
    axes.legend()
    rows = [
        [name, f"{own:.2%}", f"{rest:.2%}"]
        for name, own, rest in zip(names, reading.capacity, free, strict=True)
    ]
    rows += [
        [f"{name} (forecast)", f"{own:.2%}", f"{rest:.2%}"]
        for name, own, rest in zip(further, shown, left, strict=True)
    ]
    return Picture(
        "capacity",
        f"Bars of the share of weights that is free after each task: "
        f"{free[-1]:.1%} after {names[-1]}. {len(reading.room)} more tasks "
        f"fit at a prune fraction of {reading.prune_fraction:g}.",
        "The share of the weights that is free after each task; hatched, what "
        "further tasks would leave if each is pruned by "
        f"{reading.prune_fraction:g}.",
        figure,
        Table(
            "Weights that each task keeps and leaves",
            ["task", "keeps", "leaves free"],
            rows,
        ),
    )


def sizes(reading: Reading) -> Picture:
    """Draws the bytes of every state beside as many separate networks."""
    found = reading.sizes
    places = np.arange(len(found))
    kinds: list[tuple[str, str, str, list[int | None]]] = [
        ("separate networks", style.ORANGE, "", [s.separate for s in found]),
        ("one network", style.BLUE, "///", [s.network for s in found]),
        ("its SavedModel", style.SKY, "...", [s.served for s in found]),
    ]
    if all(size is None for size in kinds[-1][3]):
        del kinds[-1]
    figure = style.new_figure(2.8)
    axes = figure.subplots()
    width = 0.8 / len(kinds)
    for i, (name, colour, hatch, values) in enumerate(kinds):
        heights = np.array([value or 0 for value in values]) / 1e6
        at = places + (i - (len(kinds) - 1) / 2) * width
        axes.bar(
            at,
            heights,
            width,
            label=name,
            facecolor=colour,
            hatch=hatch,
            edgecolor="black",
            linewidth=0.4,
        )
        for x, value in zip(at, values, strict=True):
            if value is not None and len(found) <= 8:
                style.label_above(axes, x, value / 1e6, _size(value))
    axes.set_xticks(places, [str(s.tasks) for s in found])
    axes.set_xlabel("tasks")
    axes.set_ylabel("MB")
    axes.margins(y=0.15)
    axes.legend()
    last = found[-1]
    rows = [
        [s.tasks, *(_size(kind[3][i]) for kind in kinds)]
        for i, s in enumerate(found)
    ]
    return Picture(
        "sizes",
        f"Bars of bytes on disk by number of tasks. With {last.tasks}: one "
        f"network {_size(last.network)}, separate networks "
        f"{_size(last.separate)}.",
        "What the tasks take on disk: the packed state's network and its "
        "SavedModel as they are, beside the weights of as many separate "
        "networks, each with a backbone and a head of its own (computed, not "
        "trained).",
        figure,
        Table("Bytes on disk", ["tasks", *(kind[0] for kind in kinds)], rows),
    )


def _size(size: int | None) -> str:
    if size is None:
        return "-"
    return megabytes(size) if size >= 1e6 else f"{size / 1e3:.0f} kB"
