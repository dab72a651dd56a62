import contextlib
import io
import os
import pty
import sys

from packnet_tf import console


def test_tables_are_neither_cut_nor_wrapped():
    long = "x" * 3000
    text = console.table(["task", "classes"], [["a", 2], [long, "long ago"]])
    head, rule, first, second = text.splitlines()
    assert head.split() == ["task", "classes"]
    assert set(rule) == {"-"} and len(rule) == len(second)
    assert first.split() == ["a", "2"]
    assert second == f"{long}  long ago"


def test_names_are_text_in_tables_whatever_they_look_like():
    names = ["[red]birds[/red]", ":smile:", "日本", "caf\udce9"]
    text = console.table(["task", "n"], [[name, 1] for name in names])
    assert [line.split() for line in text.splitlines()[2:]] == [
        [name, "1"] for name in names
    ]


def test_colour_that_is_forced_stays_out_of_tables(monkeypatch):
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert "\x1b" not in console.table(["task"], [["a"]])


def test_a_file_shows_no_bar(monkeypatch):
    file = io.StringIO()
    monkeypatch.setattr(sys, "stderr", file)
    with console.bar("checking") as report:
        report(1, 2)
    assert file.getvalue() == ""


def _read_to_the_end(terminal):
    """Returns all that was written: one read may give a part of it only."""
    parts = []
    # A terminal whose other end is closed raises after its last byte.
    with contextlib.suppress(OSError):
        while part := os.read(terminal, 65_536):
            parts.append(part)
    os.close(terminal)
    return b"".join(parts).decode()


def test_a_terminal_shows_how_far_it_is(monkeypatch):
    ours, theirs = pty.openpty()
    with os.fdopen(theirs, "w") as terminal:
        monkeypatch.setattr(sys, "stderr", terminal)
        monkeypatch.setenv("TERM", "xterm")
        with console.bar("checking [x]") as report:
            report(1, 2)
            report(2, 2)
    shown = _read_to_the_end(ours)
    assert "checking [x]" in shown and "2/2" in shown
    # The cursor comes back.
    assert shown.rindex("\x1b[?25h") > shown.rindex("\x1b[?25l")


def test_clock():
    assert console.clock(125.4) == "2:05"
    assert console.clock(59.6) == "1:00"
