"""One byte or key of any file of a workdir is changed, and an app is run.

It works, with equal bytes, or refuses in one line that names what is wrong.
"""

import contextlib
import io
import shutil
import zlib

import keras
import numpy as np
import pytest
from support import sessions
from support.mutations import kind_of, mutated
from support.tiny_runs import make_images

from packnet_tf.data import open_task
from packnet_tf.errors import PackNetError
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import export
from packnet_tf.storage import checkpoints, golden, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import evaluate, report, undo
from packnet_tf.workflow.run_config import network_options_of
from packnet_tf.workflow.session import Session
from packnet_tf.workflow.verify import verify

CNN = NetworkOptions(
    network="cnn",
    network_options={"width": 2},
    weights="none",
    image_size=16,
)
FEW, MANY = 1, 500
KINDS = (
    "run.json",
    "names.json",
    "origin.npz",
    "manifest.json",
    "manifest.sha256",
    "net.keras",
    "probe.npz",
    "models.config",
    "saved_model.pb",
    "fingerprint.pb",
    "class_names.json",
    "float32.low",
    "float32.top",
    "float32.owners",
    "packnet.json",
    "packnet.sha256",
    "tf_serving_warmup_requests",
    "variables.index",
    "variables.data-00000-of-00001",
    "checkpoint.npz",
    "diverged.json",
    "lock",
    "events",
)


class Made:
    """A workdir of two packed tasks and one in training, and its images."""

    def __init__(self, folder):
        self.path = folder / "w"
        self.data = {
            name: make_images(
                folder / name, classes, train=6, test=2, seed=seed
            )
            for seed, (name, classes) in enumerate(
                {
                    "one": ("a", "b"),
                    "two": ("c", "d", "e"),
                    "three": ("f", "g"),
                }.items()
            )
        }
        self.image = str(next(self.data["one"].rglob("*.jpg")))
        for task in ("one", "two"):
            self.run(Workdir(self.path), task)
        undo.rename_task(Workdir(self.path), "two", "second")
        self.run(Workdir(self.path), "three", phases=("train", "prune"))
        record = checkpoints.read_record(self.path / "training")
        checkpoints.mark_diverged(self.path / "training", record)
        _, state = states.load(Workdir(self.path), origin=False)
        self.images, _ = golden.read_probe(state)
        self.answers = self.logits(Workdir(self.path))
        self.lines = evaluate.evaluate_tasks(Workdir(self.path), say=ignore)
        self.found = self.predicted(Workdir(self.path))

    def run(self, workdir, task, **changes):
        options = sessions.options_of(
            task,
            train_epochs=1,
            retrain_epochs=1,
            gradual_epochs=None,
            batch_size=4,
            validation_share=0.0,
            **changes,
        )
        network = (
            CNN if workdir.run is None else network_options_of(workdir, {})
        )
        session = Session(
            workdir, network, ServingConfig(), make_strategy(1), ignore
        )
        return session.run(open_task(task, self.data[task]), options)

    def logits(self, workdir):
        """Returns every older task's logits, as bytes."""
        net, _ = states.load(workdir, origin=False)
        found = golden.probe_logits(net, self.images)
        return {t.digest: found[t.name].tobytes() for t in net.tasks[:2]}

    def predicted(self, workdir):
        return evaluate.predict_files(workdir, "one", self.image, say=ignore)

    # The apps, by what their entry functions call.

    def evaluate(self, workdir, _):
        assert evaluate.evaluate_tasks(workdir, say=ignore) == self.lines

    def predict(self, workdir, _):
        assert self.predicted(workdir) == self.found

    def inspect(self, workdir, _):
        net, _ = states.load(workdir, None, origin=False)
        assert report.of_ownership(net) and net.summary_of_tasks()

    def verify(self, workdir, _):
        found = verify(workdir)
        assert str(found)
        assert found.ok or all("\n" not in f.text for f in found.findings)

    def export(self, workdir, folder):
        with workdir.lock():
            export.export_state(workdir, output=folder / "x" / "1")

    def export_task(self, workdir, folder):
        done = export.export_task(
            workdir, "one", folder / "x.keras", form="keras"
        )
        images = self.images
        plain = keras.saving.load_model(done.path)
        assert np.isfinite(plain.predict(images, verbose=0)).all()

    def set_stable(self, workdir, _):
        with workdir.lock():
            export.set_stable(workdir, 1, ServingConfig())

    def remove(self, workdir, _):
        undo.remove_task(workdir, "three")

    def rename(self, workdir, _):
        undo.rename_task(workdir, "one", "first")

    def roll_back(self, workdir, _):
        undo.roll_back(workdir, 1)

    def retrain(self, workdir, _):
        self.run(workdir, "three", phases=("retrain", "pack"))

    def add_task(self, workdir, _):
        self.run(workdir, "three")


APPS = (
    "verify",
    "evaluate",
    "retrain",
    "predict",
    "rename",
    "inspect",
    "export",
    "roll_back",
    "export_task",
    "add_task",
    "set_stable",
    "remove",
)


def ignore(*_, **__):
    """Prints nothing."""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("damaged"))


def files_of(folder, kind):
    return sorted(
        p for p in folder.rglob("*") if p.is_file() and kind_of(p) == kind
    )


def check(made, folder, kind, number):
    """Damages a copy of the workdir, and runs an app on it."""
    random = np.random.default_rng([zlib.crc32(kind.encode()), number])
    app = APPS[(number + zlib.crc32(kind.encode())) % len(APPS)]
    workdir = folder / "w"
    shutil.copytree(made.path, workdir)
    files = files_of(workdir, kind)
    if not files:
        pytest.skip(f"no {kind} without tensorflow-serving-api")
    file = files[int(random.integers(len(files)))]
    content, what = mutated(file.read_bytes(), random)
    file.write_bytes(content)
    where = f"{app}: {file.relative_to(folder)}: {what} ({number})"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(made, app)(Workdir(workdir), folder)
    except PackNetError as error:
        assert "\n" not in str(error), where
        assert str(folder) in str(error) or kind in str(error), (where, error)
    except Exception as error:
        raise AssertionError(where) from error
    else:
        if app not in ("roll_back", "verify"):
            with contextlib.suppress(PackNetError):
                for digest, logits in made.logits(Workdir(workdir)).items():
                    assert logits == made.answers.get(digest, logits), where
    shutil.rmtree(folder)
    keras.backend.clear_session()


def test_every_file_is_damaged(made):
    there = {kind_of(p) for p in made.path.rglob("*") if p.is_file()}
    # TensorFlow Serving's package writes the requests.
    optional = {"tf_serving_warmup_requests"}
    assert {*KINDS} - optional <= there <= {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_refuses_a_damaged_file_or_works(made, tmp_path, kind):
    for number in range(FEW):
        check(made, tmp_path / str(number), kind, number)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(made, tmp_path, kind):
    for number in range(FEW, MANY):
        check(made, tmp_path / str(number), kind, number)
