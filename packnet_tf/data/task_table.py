"""The table of all tasks that are known by name."""

from packnet_tf.data.catalog import TaskEntry, numbers
from packnet_tf.data.registry import registered
from packnet_tf.options.data import NUMBERED, PERMUTED


def table() -> str:
    """Returns all known tasks as a table of text, a line each."""
    rows: list[tuple[str, ...]] = [
        ("task", "classes", "train", "test", "data", "needs")
    ]
    known = registered()
    shown: set[str] = set()
    for entry in known.values():
        head = entry.name.partition(".")[0]
        if head in shown:
            continue
        name = entry.name
        if head in NUMBERED:
            shown.add(head)
            name = numbers(head)
        rows.append(_row(name, entry))
    rows.append(_row(f"{PERMUTED}/SEED", known["mnist"]))
    widths = [max(len(row[i]) for row in rows) for i in range(5)]
    return "\n".join(
        "  ".join(
            [
                row[0].ljust(widths[0]),
                *(row[i].rjust(widths[i]) for i in (1, 2, 3)),
                row[4].ljust(widths[4]),
                row[5],
            ]
        ).rstrip()
        for row in rows
    )


def _row(name: str, entry: TaskEntry) -> tuple[str, ...]:
    train, test = entry.counts or ("", "")
    return (
        name,
        str(entry.classes or ""),
        f"{train:,}" if train else "",
        f"{test:,}" if test else "",
        entry.data or "folder",
        entry.needs,
    )
