"""Help is short and grouped; a wrong or missing flag is one line."""

import ast
import os
import pathlib
import re
import subprocess
import sys

import pytest

from packnet_tf.options import fields

ROOT = pathlib.Path(__file__).resolve().parents[2]
APPS = {
    "add_task": ["workdir", "task"],
    "compare": ["workdir"],
    "demo": [],
    "evaluate": ["workdir"],
    "export": ["workdir"],
    "inspect": ["workdir"],
    "predict": ["workdir", "task", "images"],
    "report": ["workdir"],
    "prune": ["workdir", "task"],
    "retrain": ["workdir", "task"],
    "undo": ["workdir"],
    "verify": ["workdir"],
}


# Modules beside the apps.
SHARED = {"__init__", "flags_table", "process", "run_flags", "task_app"}
SHARED.add("usage")


def test_every_app_is_looked_at():
    found = {path.stem for path in (ROOT / "apps").glob("*.py")}
    assert set(APPS) == found - SHARED


def run(app, *flags, env=None):
    return subprocess.run(
        [sys.executable, f"apps/{app}.py", *flags],
        cwd=ROOT,
        env={**os.environ, **(env or {})},
        capture_output=True,
        text=True,
        timeout=100,
    )


def shown(text):
    """Returns the flags that a help text has entries of, by group."""
    found, group = {}, None
    for line in text.splitlines():
        if line.removesuffix(":") in fields.GROUPS:
            group = found.setdefault(line[:-1], [])
        entry = re.match(r"  --(?:\[no\])?(\w+)", line)
        if entry and group is not None:
            group.append(entry[1])
    return found


@pytest.mark.parametrize("app", APPS)
def test_help_ends_well_and_keeps_the_lines_of_the_description(app):
    ended = run(app, "--help")
    assert (ended.returncode, ended.stderr) == (0, "")
    source = ast.parse((ROOT / "apps" / f"{app}.py").read_text())
    text = ast.get_docstring(source, clean=False)
    assert ended.stdout.startswith(text.strip())
    assert f"  python apps/{app}.py" in ended.stdout
    # Lines end in a backslash where a command goes on.
    for line, after in re.findall(r"^(  python .*)\n(.*)$", ended.stdout, re.M):
        assert line.endswith("\\") == after.startswith("      ")
    assert max(map(len, ended.stdout.splitlines())) <= 80
    assert "--flagfile=FILE" in ended.stdout
    given = sum(shown(ended.stdout).values(), [])
    assert not set(APPS[app]) - set(given)


def test_help_shows_what_a_user_needs_in_groups_and_helpfull_the_rest():
    short, full = (run("add_task", f"--{h}") for h in ("help", "helpfull"))
    assert full.returncode == 0
    basic, every = shown(short.stdout), shown(full.stdout)
    assert [*basic] == [*every] == list(fields.GROUPS)
    assert basic["General"] == ["workdir", "task"]
    assert basic["Network"][:2] == ["network", "network_options"]
    assert "data" in basic["Data"] and "train_epochs" in basic["Training"]
    assert basic["Pruning"] == ["prune_fraction"]
    assert basic["Serving"] == ["model_name"]
    for group, names in basic.items():
        assert not set(names) - set(every[group])
    more = sum(map(len, every.values())) - sum(map(len, basic.values()))
    assert f"--helpfull shows {more} more flag(s)" in short.stdout
    assert len(short.stdout.splitlines()) < 75 < len(full.stdout.splitlines())


@pytest.mark.parametrize("asked", ["-h", "-help", "-?", "--helpshort"])
def test_help_is_found_by_its_other_names(asked):
    ended = run("verify", "--workdir=w", asked)
    assert ended.returncode == 0 and "General:" in ended.stdout


@pytest.mark.parametrize("app", [app for app, needs in APPS.items() if needs])
def test_missing_flags_are_named_with_an_example(app):
    ended = run(app)
    (line,) = ended.stderr.splitlines()
    names = ", ".join(f"--{name}" for name in APPS[app])
    names = " and ".join(names.rsplit(", ", 1))
    assert line.startswith(f"error: {names} ")
    assert f"python apps/{app}.py --workdir=runs/" in line
    assert (ended.returncode, ended.stdout) == (1, "")


@pytest.mark.parametrize(
    "flags, message",
    [
        (["--tsk=a"], "--tsk: there is no such flag; did you mean --task?"),
        (["--zzzz"], "--zzzz: there is no such flag; --help shows the flags"),
        (["--train_epochs=x"], "--train_epochs=x: expected a whole number."),
        (["--learning_rate="], "--learning_rate=: expected a number."),
        (
            ["--scope=filter"],
            "--scope=filter: expected one of layer, global.",
        ),
        (["--list_tasks=yes"], "--list_tasks=yes: expected true or false."),
        (["--nolist_tasks=1"], "--nolist_tasks=1 does not take an argument"),
        (["--workdir"], "--workdir: its value is missing"),
        (["--flagfile=no/such"], "--flagfile: no/such cannot be read (No such"),
        (["a", "--task=b"], "Unexpected argument 'a'"),
    ],
)
def test_a_wrong_flag_is_one_line_in_plain_words(flags, message):
    ended = run("add_task", *flags)
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"error: {message}")
    assert (ended.returncode, ended.stdout) == (1, "")


def test_the_home_folder_is_what_shells_leave_for_an_app_to_find(tmp_path):
    found = run("verify", "--workdir=~/w", env={"HOME": str(tmp_path)})
    assert f"--workdir={tmp_path}/w does not exist" in found.stderr
    found = run("verify", "--workdir=~nobody_at_all/w")
    assert found.stderr.startswith("error: --workdir=~nobody_at_all/w: ")


def test_settings_are_read_from_a_file_of_flags(tmp_path):
    (tmp_path / "flags").write_text(f"--workdir={tmp_path}/nowhere\n")
    ended = run("verify", f"--flagfile={tmp_path}/flags")
    assert f"--workdir={tmp_path}/nowhere does not exist" in ended.stderr
