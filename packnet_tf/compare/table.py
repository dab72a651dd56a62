"""A comparison as a table for people."""

from packnet_tf.compare.intervals import Interval
from packnet_tf.compare.plan import Plan
from packnet_tf.compare.summary import REFERENCE, Row, Summary
from packnet_tf.console import clock, table

# Tasks that have a column each.
_COLUMNS = 6


def text_of(summary: Summary) -> str:
    """Returns the table, and what it must be read with.

    Args:
        summary: The comparison.
    """
    head, rows = columns_of(summary)
    plan = summary.plan
    lines = [
        table(head, rows),
        "",
        "accuracy: test accuracy after the last task, mean of the tasks and "
        "seeds, with the standard deviation of the seeds; "
        f"difference to {REFERENCE}, seed by seed, with its 95 % interval; "
        "forgetting: how far older tasks fell. MB and min: all tasks "
        "together; ms: one image.",
        rates_of(plan),
    ]
    ends = [row.method for row in summary.rows if row.at_end_of_list]
    if ends:
        lines.append(
            f"* at the end of that list: {', '.join(ends)}; a wider list may "
            "be better."
        )
    for row in summary.rows:
        if row.learning_rate is None:
            lines.append(f"{row.method} diverged at every learning rate.")
        elif row.diverged:
            seeds = ", ".join(map(str, row.diverged))
            lines.append(f"{row.method} diverged with seed {seeds}.")
    return "\n".join(lines)


def rates_of(plan: Plan) -> str:
    """Returns a sentence on where the learning rates come from."""
    listed = plan.settings["learning_rates"]
    if len(plan.learning_rates) == 1:
        return f"All methods had the learning rate {listed}; none was tuned."
    return (
        f"Each method's learning rate is the one of {listed} with the best "
        f"mean validation accuracy, with seed {plan.tuning_seed}."
    )


def columns_of(summary: Summary) -> tuple[list[str], list[list[str]]]:
    """Returns the names of the columns, and the rows."""
    tasks = summary.tasks if len(summary.tasks) <= _COLUMNS else []
    head = [
        "method",
        "rate",
        "seeds",
        *tasks,
        "accuracy",
        "difference",
        "forgetting",
        "MB",
        "MB added a task",
        "min",
        "ms",
    ]
    return head, [_cells(row, len(tasks)) for row in summary.rows]


def _cells(row: Row, tasks: int) -> list[str]:
    shares = [f"{share:.4f}" for share in row.tasks[:tasks]]
    rate = "-" if row.learning_rate is None else f"{row.learning_rate:g}"
    return [
        row.method,
        rate + ("*" if row.at_end_of_list else ""),
        str(len(row.seeds)),
        *(shares or ["-"] * tasks),
        accuracy_of(row),
        _interval(row.difference),
        _number(row.forgetting, "+.4f") if row.forgetting else _exact(row),
        _number(row.size, ".2f", 1e-6),
        _number(row.added, ".3f", 1e-6),
        "-" if row.seconds is None else clock(row.seconds),
        _number(row.latency, ".1f"),
    ]


def accuracy_of(row: Row) -> str:
    """Returns a method's accuracy as text, with its deviation."""
    if row.deviation is None:
        return _number(row.accuracy, ".4f")
    return f"{row.accuracy:.4f} ±{row.deviation:.4f}"


def _exact(row: Row) -> str:
    """Returns 0 if nothing at all was forgotten, to the last digit."""
    return "-" if row.forgetting is None else "0"


def _interval(value: Interval | None) -> str:
    if value is None:
        return "-"
    if value.low is None or value.high is None:
        return f"{value.mean:+.4f}"
    return f"{value.mean:+.4f} [{value.low:+.4f}, {value.high:+.4f}]"


def _number(value: float | None, form: str, unit: float = 1.0) -> str:
    return "-" if value is None else format(value * unit, form)
