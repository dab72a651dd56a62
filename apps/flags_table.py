"""Prints docs/flags.md: every flag of every app, as the apps define them.

python -m apps.flags_table > docs/flags.md
"""

import pathlib
import re
import subprocess
import sys
from xml.etree import ElementTree

from apps import add_task, run_flags  # noqa: F401
from packnet_tf.options import fields

_ROOT = pathlib.Path(__file__).resolve().parents[1]
_MAIN = "add_task"
_OTHERS = (
    "prune retrain evaluate predict inspect report compare verify undo export "
    "demo"
)
_HEAD = """# Flags

`python -m apps.flags_table` prints this page from the options that the code
declares, and `python apps/add_task.py --helpfull` shows the same on a
terminal; `--help` shows only those in bold. `--flagfile=FILE` reads flags from
a file, one per line. The first command on a workdir fixes the flags of the
network, and later ones need not repeat them. `prune.py` and `retrain.py` have
the flags of `add_task.py`; those that other apps share with it are listed once.
"""


def _flags_of(app: str) -> dict[str, tuple[str, str]]:
    """Returns default and help of an app's own flags, by name."""
    answer = subprocess.run(
        [sys.executable, f"apps/{app}.py", "--helpxml"],
        cwd=_ROOT,
        capture_output=True,
        text=True,
    )
    found = {}
    for flag in ElementTree.fromstring(answer.stdout).iter("flag"):
        if flag.findtext("file", "").startswith("absl."):
            continue
        text = flag.findtext("meaning", "").split(";\n")[0]
        values = [one.text or "" for one in flag.iter("enum_value")]
        if values:
            text = re.sub(r"^<.*?>: ", "", text)
            text += f" One of: {', '.join(values)}."
        default = flag.findtext("default", "").strip("[]")
        found[flag.findtext("name", "")] = (default, text)
    return found


def _table(rows: list[tuple[str, str, str]]) -> str:
    lines = ["| flag | default | what it is |", "| --- | --- | --- |"]
    for name, default, text in rows:
        # Escapes what Markdown would interpret.
        text = re.sub(r"([*|<>\[\]])", r"\\\1", text)
        lines.append(f"| {name} | {default} | {text} |")
    return "\n".join(lines) + "\n"


def document() -> str:
    """Returns the page."""
    main = _flags_of(_MAIN)
    others = {app: _flags_of(app) for app in _OTHERS.split()}
    parts = [_HEAD]
    for group in fields.GROUPS:
        rows = []
        for name, option in run_flags.OPTIONS.items():
            if option.group != group:
                continue
            default, text = main[name]
            shown = [f"`{default}`"] if default else []
            shown += [
                f"`{flags[name][0]}` in `{app}.py`"
                for app, flags in others.items()
                if name in flags and flags[name][1] == text
                if flags[name][0] != default
            ]
            flag = f"`--{name}`"
            rows.append(
                (
                    f"**{flag}**" if option.basic else flag,
                    "; ".join(shown),
                    text,
                )
            )
        parts += [f"## {group}\n", _table(rows)]
    own: dict[tuple[str, str, str], list[str]] = {}
    for app, flags in others.items():
        for name, (default, text) in flags.items():
            if name not in main or main[name][1] != text:
                own.setdefault((name, default, text), []).append(app)
    rows = [
        (
            f"`--{name}`",
            f"`{default}`" if default else "",
            f"{_of(apps)}: {text}",
        )
        for (name, default, text), apps in own.items()
    ]
    return "\n".join([*parts, "## Of the other apps\n", _table(rows)])


def _of(apps: list[str]) -> str:
    return ", ".join(f"`{app}.py`" for app in apps)


if __name__ == "__main__":
    print(document(), end="")
