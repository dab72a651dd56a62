"""Draws a comparison: accuracy against bytes, a point for each method."""

from packnet_tf.compare.summary import Row, Summary
from packnet_tf.compare.table import accuracy_of, columns_of, rates_of
from packnet_tf.report import style
from packnet_tf.report.page import Picture, Section, Table

_COLOURS = (
    style.BLUE,
    style.ORANGE,
    style.GREEN,
    style.PINK,
    style.SKY,
    style.VERMILION,
    style.YELLOW,
)
# Their number has no divisor in common with that of the colours.
_MARKERS = "osD^vP*X"
# Sizes that are this many times apart need a logarithmic axis.
_FAR_APART = 5


def comparison_sections(summary: Summary) -> list[Section]:
    """Returns the parts of a comparison's page.

    Args:
        summary: The comparison.
    """
    shown = [r for r in summary.rows if r.accuracy is not None and r.size]
    missing = [
        f"No point of {row.method}: {_why_missing(row)}."
        for row in summary.rows
        if row not in shown
    ]
    head, rows = columns_of(summary)
    return [
        Section(
            "methods",
            "Accuracy against bytes",
            [
                "Tasks, in the order learned: "
                + ", ".join(
                    f"{task.name} ({task.classes} classes)"
                    for task in summary.plan.tasks
                )
                + ".",
                rates_of(summary.plan),
            ],
            [_points(shown)] if shown else [],
            missing,
            Table(
                "Every method: test accuracy after the last task, of each task "
                "and in the mean with the standard deviation of the seeds; "
                "difference to individual networks, seed by seed, with its "
                "95 % interval; how far older tasks fell; bytes of all tasks "
                "together; minutes of training; milliseconds for one image",
                head,
                rows,
            ),
        ),
        Section(
            "settings",
            "What all methods shared",
            table=Table(
                "Budget, network and rates, by flag",
                ["flag", "value"],
                [
                    [f"--{flag}", value]
                    for flag, value in summary.plan.settings.items()
                    if value not in (None, "")
                ],
            ),
        ),
    ]


def _why_missing(row: Row) -> str:
    if row.accuracy is not None:
        return "its size on disk is not known"
    if row.learning_rate is None or row.diverged:
        return "it diverged"
    return "it has no result yet"


def _points(rows: list[Row]) -> Picture:
    figure = style.new_figure(4.2)
    axes = figure.subplots()
    places = [(row.size or 0) / 1e6 for row in rows]
    for i, (row, x) in enumerate(zip(rows, places, strict=True)):
        axes.errorbar(
            x,
            row.accuracy or 0.0,
            yerr=row.deviation,
            fmt=_MARKERS[i % len(_MARKERS)],
            color=_COLOURS[i % len(_COLOURS)],
            markeredgecolor="black",
            ecolor="0.4",
            markersize=8,
            capsize=3,
            label=row.method,
        )
    if max(places) > _FAR_APART * min(places):
        axes.set_xscale("log")
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("")
    axes.margins(x=0.08, y=0.1)
    axes.set_xlabel("MB on disk, all tasks together")
    axes.set_ylabel("test accuracy, mean of the tasks")
    axes.grid(color="0.9")
    axes.set_axisbelow(True)
    figure.legend(loc="outside right upper")
    best = max(rows, key=lambda row: row.accuracy or 0)
    return Picture(
        "methods",
        f"Points of accuracy against bytes, one for each of {len(rows)} "
        f"methods. The highest is {best.method} with {accuracy_of(best)} and "
        f"{(best.size or 0) / 1e6:.1f} MB.",
        "Up is more accurate, left is smaller. A point is a method with its "
        "own learning rate, the mean of its seeds; a bar is their standard "
        "deviation.",
        figure,
        Table(
            "Accuracy and bytes of each method",
            ["method", "accuracy", "MB"],
            [
                [row.method, accuracy_of(row), f"{x:.2f}"]
                for row, x in zip(rows, places, strict=True)
            ],
        ),
    )
