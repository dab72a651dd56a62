"""What the integration tests share: apps to run, and images to run on."""

import dataclasses
import json
import pathlib
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
from support.sessions import CLASSES
from support.tiny_runs import TINY, make_images
from support.whole_runs import FLAGS, everything

from packnet_tf.data import open_task

_SERVER = pathlib.Path(__file__).parents[1] / "support/app_server.py"


@dataclasses.dataclass
class Ended:
    """How a process ended.

    Attributes:
        code: Its exit code; -9 if it was killed.
        seconds: How long it took.
        stdout: What it printed.
        stderr: The same.
        touches: How often it touched files below `below`.
        codes: Exit codes of all workers, if there were several.
        others: What all but the chief wrote to stderr.
    """

    code: int
    seconds: float
    stdout: str
    stderr: str
    touches: int = 0
    codes: list[int] = dataclasses.field(default_factory=list)
    others: list[str] = dataclasses.field(default_factory=list)


@pytest.fixture(scope="session")
def run_app(tmp_path_factory):
    """Returns a function that runs an app: `run_app("evaluate", "--top=1")`.

    `kill_after=seconds` ends it by SIGKILL, and so does `die_at=number`,
    before it touches files below the folder `below` for that time, or, with
    `kill_when=path`, as soon as there is such a file. Other
    signals come with `signal_after=[number, seconds]`, and Ctrl-C's with
    `interrupt_at=number`. With
    `full_at=number` the disk is full from that touch on, with `read_only_at`
    it is read-only, and before `gone_at` the folder is taken away. No file
    may be larger than `largest=bytes`.

    `workers=number` starts so many at once, with the TF_CONFIG of a job; the
    faults are those of the one that `victim=index` names, whose exit code is
    returned, and which has the `victims_arguments` too. What is printed is the
    chief's; that of the others is in `others`.
    """
    folder = tmp_path_factory.mktemp("output")
    outputs = {n: folder / n for n in ("stdout", "stderr")}
    server = subprocess.Popen(
        [sys.executable, str(_SERVER)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )

    touches = pathlib.Path(f"{outputs['stdout']}.touches")

    def run(app, *arguments, **how):
        touches.write_text("0")
        task = {
            "app": f"{app}.py",
            "arguments": [str(a) for a in arguments],
            **{name: str(path) for name, path in outputs.items()},
            **how,
        }
        server.stdin.write(json.dumps(task) + "\n")
        server.stdin.flush()
        answer = json.loads(server.stdout.readline())
        texts = {name: path.read_text() for name, path in outputs.items()}
        others = [
            pathlib.Path(f"{outputs['stderr']}.{index}").read_text()
            for index in range(1, how.get("workers", 1))
        ]
        return Ended(
            **answer, **texts, touches=int(touches.read_text()), others=others
        )

    yield run
    server.stdin.close()
    server.wait()


@pytest.fixture(scope="session")
def colours(tmp_path_factory):
    """An image folder of three classes that are easy to tell apart."""
    return make_images(tmp_path_factory.mktemp("data") / "colours")


@pytest.fixture(scope="session")
def images(tmp_path_factory):
    """Image folders of two tasks, `first` and `second`."""
    folder = tmp_path_factory.mktemp("images")
    make_images(folder / "first", ("blue", "green", "red"))
    make_images(folder / "second", ("dark", "light"), seed=1)
    return folder


@pytest.fixture(scope="session")
def packed(tmp_path_factory, run_app, colours):
    """A workdir with one packed task, colours, and its image folder."""
    workdir = tmp_path_factory.mktemp("packed") / "w"
    ended = run_app(
        "add_task",
        f"--workdir={workdir}",
        "--task=colours",
        f"--data={colours}",
        *TINY,
    )
    assert ended.code == 0, ended.stderr
    return workdir


@pytest.fixture(scope="session")
def commands(run_app, images, tmp_path_factory):
    """Returns what adds the second task to a copy of a workdir of the first.

    It is called with a folder, and faults as for `run_app`.
    """
    first = tmp_path_factory.mktemp("first") / "w"

    def run(workdir, task, **how):
        return run_app(
            "add_task",
            f"--workdir={workdir}",
            f"--task={task}",
            f"--data={images / task}",
            *FLAGS,
            "--train_epochs=1",
            below=str(workdir),
            **how,
        )

    ended = run(first, "first")
    assert ended.code == 0, ended.stderr

    def add(workdir, **how):
        if not workdir.exists():
            shutil.copytree(first, workdir)
        return run(workdir, "second", **how)

    return add


@pytest.fixture(scope="session")
def whole(commands, tmp_path_factory):
    """A run without faults: how it ended, and all that it left."""
    workdir = tmp_path_factory.mktemp("whole") / "w"
    ended = commands(workdir)
    assert ended.code == 0, ended.stderr
    return ended, everything(workdir)


@pytest.fixture(scope="session")
def files(tmp_path_factory, colours):
    """Inputs that are wrong in one way each, by name."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "empty").mkdir()
    (folder / "no_classes" / "train").mkdir(parents=True)
    (folder / "no_images" / "train" / "a").mkdir(parents=True)
    (folder / "no_images" / "train" / "b").mkdir(parents=True)
    make_images(folder / "one", classes=("only",), train=2, test=1)
    make_images(folder / "two", classes=("red", "blue"), train=10, test=2)
    make_images(folder / "few", classes=("red", "blue"), train=2, test=1)
    for name in ("corrupt", "truncated", "cut", "corrupt_test"):
        make_images(folder / name, classes=("blue", "red"), train=10)
    bad = folder / "corrupt" / "train" / "red" / "07.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 this is no JPEG")
    bad = folder / "corrupt_test" / "test" / "red" / "01.jpg"
    bad.write_bytes(b"")
    cut = folder / "truncated" / "train" / "blue" / "03.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    cut = folder / "cut" / "train" / "red" / "09.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    make_images(folder / "test_only", train=0).joinpath("train").rename(
        folder / "unused"
    )
    (folder / "file").write_text("a file, not a folder")
    (folder / "garbage.weights.h5").write_bytes(b"no weights at all")
    (folder / "garbage.npz").write_bytes(b"no arrays at all")
    (folder / "garbage.keras").write_bytes(b"no network at all")
    np.savez(folder / "half.npz", x_train=np.zeros((4, 8, 8), np.uint8))
    small = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    small.save(folder / "small.keras")
    small.save_weights(folder / "other.weights.h5")
    return folder


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The opened images of both tasks, by name."""
    folder = tmp_path_factory.mktemp("data")
    return {
        name: open_task(
            name, make_images(folder / name, classes, seed=len(name))
        )
        for name, classes in CLASSES.items()
    }
