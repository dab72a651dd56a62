"""How an app ends, in a process of its own: in one line, whatever happens."""

import os
import subprocess
import sys

import pytest
from support import ROOT
from support.refusals import SECONDS, check_refused
from support.tiny_runs import TINY


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--task=a/b"], ["'a/b'"]),
        (["--task=colours", "--optimizer=none"], ["optimizer"]),
        (["--task=colours", "--data=/nowhere/at/all"], ["/nowhere/at/all"]),
    ],
)
def test_a_process_of_its_own_says_so_in_time(tmp_path, flags, words):
    command = [sys.executable, "apps/add_task.py", f"--workdir={tmp_path}/w"]
    ended = subprocess.run(
        [*command, *TINY, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    ended.code, ended.seconds = ended.returncode, 0
    check_refused(ended, *words)
    assert not (tmp_path / "w").exists()


ENDS = """
import os, signal, sys
# A shell's background jobs are started to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[0] = os.getcwd()
from apps import process

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

def no_memory():
    process.load()
    import tensorflow as tf
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating x")

def odd_name():
    print(os.fsdecode(b"caf\\xe9.jpg"))

process.run(globals()[sys.argv.pop()])
"""


@pytest.mark.parametrize(
    "how, code, words",
    [
        ("interrupted", 130, ["interrupted", "Run the same command again"]),
        ("no_memory", 1, ["OOM when allocating x", "--batch_size"]),
    ],
)
def test_it_ends_in_one_line_that_says_what_to_run_next(how, code, words):
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == code
    (line,) = ended.stderr.strip().splitlines()
    for word in [*words, "what is finished is kept"]:
        assert word in line


def test_names_that_are_no_text_are_printed_all_the_same():
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, "odd_name"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert (ended.returncode, ended.stdout) == (0, "caf\\udce9.jpg\n")
