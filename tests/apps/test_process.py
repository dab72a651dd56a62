"""Apps answer for their flags at once; TensorFlow is imported for work."""

import pathlib
import subprocess
import sys
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
# Runs an app, then says what it has imported.
RUN = """
import runpy, sys
sys.argv = sys.argv[1:]
try:
    runpy.run_path(sys.argv[0], run_name="__main__")
finally:
    heavy = {"keras", "tensorflow", "tensorflow_datasets"}
    print("imported:", *sorted(heavy & sys.modules.keys()))
"""
SHARED = ("__init__.py", "process.py", "run_flags.py", "task_app.py")
SHARED += ("usage.py", "flags_table.py")
FLAGS = [
    (["--help"], "--[no]list_tasks"),
    (["--workdir=w", "--task=a", "--train_epochs=0"], "--train_epochs=0"),
    (["--task=a"], "--workdir"),
    (["--workdir=w", "--task=a/b"], "'a/b'"),
    (["--workdir=w", "--task=a", "--image_size=0"], "--image_size=0"),
    (["--workdir=w", "--task=a", "--augment=none"], "'none'"),
    (["--workdir=/dev/null", "--task=a"], "/dev/null is a file"),
]


def run(*arguments):
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def seconds(*arguments):
    start = time.monotonic()
    run(*arguments)
    return time.monotonic() - start


@pytest.fixture(scope="module")
def tensorflow_seconds():
    return min(seconds("-c", "import tensorflow") for _ in range(2))


@pytest.mark.parametrize("flags, words", FLAGS)
def test_flags_are_answered_before_tensorflow_is_imported(flags, words):
    ended = run("-c", RUN, "apps/add_task.py", *flags)
    assert ended.stdout.splitlines()[-1] == "imported:"
    assert words in ended.stdout + ended.stderr
    assert ended.returncode == (0 if flags == ["--help"] else 1)
    if flags[-1] != "--help" and "--workdir" in flags[0]:
        assert len(ended.stderr.splitlines()) == 1


@pytest.mark.parametrize("flags", [flags for flags, _ in FLAGS[:3]])
def test_that_takes_a_quarter_of_importing_it_at_most(
    flags, tensorflow_seconds
):
    took = min(seconds("apps/add_task.py", *flags) for _ in range(2))
    assert took <= tensorflow_seconds / 4


@pytest.mark.parametrize(
    "app",
    sorted({p.name for p in (ROOT / "apps").glob("*.py")} - {*SHARED}),
)
def test_every_app_helps_without_it(app):
    ended = run("-c", RUN, f"apps/{app}", "--helpfull")
    assert "--workdir" in ended.stdout
    assert ended.stdout.splitlines()[-1] == "imported:"


def test_the_package_is_whole_when_the_work_begins():
    program = """
import sys
sys.path[0] = "."
from apps import process
import packnet_tf.options.task
light = packnet_tf
assert not hasattr(light, "PackNet") and "tensorflow" not in sys.modules

def main():
    process.load()
    import packnet_tf
    assert packnet_tf is light and packnet_tf.PackNet
    import keras
    print(keras.saving.get_registered_object("packnet_tf>PackNet"))

process.run(main)
"""
    ended = run("-c", program)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert "PackNet" in ended.stdout


def test_a_package_that_is_there_already_is_left_alone():
    program = """
import packnet_tf
from apps import process

def main():
    process.load()
    print(packnet_tf.PackNet.__name__)

process.run(main)
"""
    ended = run("-c", program)
    assert (ended.returncode, ended.stdout) == (0, "PackNet\n")
