"""A workdir with two packed tasks and one in training, and every app on it."""

import os
import shutil

import keras
import numpy as np

from packnet_tf.data import open_task
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options import fractions
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.report.reading import read
from packnet_tf.report.write import write_report
from packnet_tf.serving import export
from packnet_tf.storage import checkpoints, golden, states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow import evaluate, report, undo
from packnet_tf.workflow.run_config import network_options_of
from packnet_tf.workflow.session import Session
from packnet_tf.workflow.verify import verify
from support import sessions
from support.mutations import kind_of
from support.tiny_runs import make_images

CNN = NetworkOptions(
    network="cnn",
    network_options={"width": 2},
    weights="none",
    image_size=16,
)
# Every app but demo, which makes its own workdir; undo is three.
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
    "prune",
    "report",
)
# These take over a second if nothing is refused.
SLOW = {"verify", "retrain", "rename", "add_task", "prune", "export", "report"}


def ignore(*_, **__):
    """Prints nothing."""


class Made:
    """The workdir, its images, and what its apps answer."""

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
            self._run(Workdir(self.path), task)
        undo.rename_task(Workdir(self.path), "two", "second")
        self._run(Workdir(self.path), "three", phases=("train", "prune"))
        record = checkpoints.read_record(self.path / "training")
        checkpoints.mark_diverged(self.path / "training", record)
        net, state = states.load(Workdir(self.path), origin=False)
        self.images, _ = golden.read_probe(state)
        self.answers = self.logits(net)
        self.lines = self._evaluated(Workdir(self.path))
        self.found = self._predicted(Workdir(self.path))
        self.shown = _shown(read(Workdir(self.path)))

    def logits(self, net):
        """Returns the logits of the two packed tasks, as bytes."""
        found = golden.probe_logits(net, self.images)
        return {t.digest: found[t.name].tobytes() for t in net.tasks[:2]}

    def check_answers(self, net):
        """Compares the packed tasks' logits, as bytes."""
        for digest, logits in self.logits(net).items():
            assert logits == self.answers.get(digest, logits)

    def _run(self, workdir, task, again=False, **changes):
        options = sessions.options_of(
            task,
            train_epochs=1,
            retrain_epochs=1,
            batch_size=4,
            validation_share=0.0,
            **{"gradual_epochs": None, **changes},
        )
        network = (
            CNN if workdir.run is None else network_options_of(workdir, {})
        )
        session = Session(
            workdir, network, ServingConfig(), make_strategy(1), ignore
        )
        data = open_task(task, self.data[task])
        return session.run(data, options, again=again)

    def _evaluated(self, workdir):
        return evaluate.evaluate_tasks(workdir, in_detail=["one"], say=ignore)

    def _predicted(self, workdir):
        return evaluate.predict_files(workdir, "one", self.image, say=ignore)

    # The apps, by what their entry functions call. Each compares what it got.

    def evaluate(self, workdir, _):
        assert repr(self._evaluated(workdir)) == repr(self.lines)

    def predict(self, workdir, _):
        assert self._predicted(workdir) == self.found

    def inspect(self, workdir, _):
        net, _ = states.load(workdir, None, origin=False)
        assert report.of_ownership(net) and net.summary_of_tasks()
        assert fractions.forecast(net.capacity, 0.5)

    def report(self, workdir, folder):
        found = read(workdir)
        write_report(found, folder / "report.html")
        assert _shown(found) == self.shown

    def verify(self, workdir, _):
        found = verify(workdir)
        assert str(found)
        assert found.ok or all("\n" not in f.text for f in found.findings)

    def export(self, workdir, folder):
        with workdir.lock():
            done = export.export_state(workdir, output=folder / "x" / "1")
        found = golden.replay_saved_model(workdir.newest(), done.path)
        assert [one.same for one in found] == [True, True]

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

    def prune(self, workdir, _):
        done = self._run(
            workdir, "three", phases=("prune",), gradual_epochs=0, again=True
        )
        self.check_answers(done.net)

    def retrain(self, workdir, _):
        self._run(workdir, "three", phases=("retrain", "pack"))
        self.check_answers(states.load(workdir)[0])

    def add_task(self, workdir, _):
        self._run(workdir, "three")
        self.check_answers(states.load(workdir)[0])


class Copy:
    """A copy of the workdir, which is made whole again after each app."""

    def __init__(self, made, folder):
        self._from = made.path
        self.folder = folder
        self.path = folder / "w"
        shutil.copytree(made.path, self.path)

    def files(self, kind):
        return [p for p in sorted(self._files(self.path)) if kind_of(p) == kind]

    def restore(self):
        """Makes every file as it was, copying those that are not."""
        for path in self.folder.iterdir():
            if path != self.path:
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        there = {p.relative_to(self._from): p for p in self._files(self._from)}
        ours = {p.relative_to(self.path): p for p in self._files(self.path)}
        for name in ours.keys() - there.keys():
            ours[name].unlink()
        for name, path in there.items():
            if name not in ours or _stamp(ours[name]) != _stamp(path):
                copy = self.path / name
                copy.parent.mkdir(parents=True, exist_ok=True)
                copy.unlink(missing_ok=True)
                shutil.copy2(path, copy)
        for path in sorted(self.path.rglob("*"), reverse=True):
            name = path.relative_to(self.path)
            if path.is_dir() and not (self._from / name).is_dir():
                path.rmdir()

    def same_networks(self):
        """Whether the packed networks on disk have their bytes."""
        return all(
            path.read_bytes()
            == (self._from / path.relative_to(self.path)).read_bytes()
            for path in self.path.glob("states/*/net.keras")
            if not path.parent.name.startswith("003")
        )

    def read_by(self, app, made):
        """Returns the kinds of the files that an app opens and reads."""
        for path in self._files(self.path):
            os.utime(path, ns=(0, path.stat().st_mtime_ns))
        before = set(self._files(self.path))
        getattr(made, app)(Workdir(self.path), self.folder)
        gone = before - set(self._files(self.path))
        read = {kind_of(p) for p in before - gone if p.stat().st_atime_ns}
        self.restore()
        return read | {kind_of(p) for p in gone}

    @staticmethod
    def _files(path):
        return [p for p in path.rglob("*") if p.is_file()]


def _stamp(path):
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _shown(reading):
    """What a report says of tasks; sizes on disk may differ."""
    matrix = reading.accuracies.matrix.tobytes()
    return matrix, reading.owned, repr(reading.curves), reading.room
