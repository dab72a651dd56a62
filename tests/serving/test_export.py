"""States and tasks for other programs."""

import os
import shutil
import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import ROOT, tiny_nets

from packnet_tf.errors import FlagError, NetworkError, StateError, TaskError
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving import export
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

SIZE = tiny_nets.SIZE


def backbone():
    """Of layers that ONNX can have too."""
    return keras.Sequential(
        [
            keras.Input((SIZE, SIZE, 3)),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.GlobalAveragePooling2D(),
            keras.layers.Dense(10, activation="relu"),
        ]
    )


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    keras.utils.set_random_seed(0)
    return tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("export") / "w",
        ("a", "b"),
        net=PackNet(backbone()),
        probe_images=tiny_nets.images(),
    )


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def logits(path, task):
    served = tf.saved_model.load(path)
    images = tf.constant(tiny_nets.images())
    return served.signatures[task](images=images)["logits"].numpy().tobytes()


def test_a_state_exported_again_answers_with_the_same_bytes(made, tmp_path):
    expected = logits(made.serving_path / "net" / "2", "a")
    for number, layout in enumerate(("folded", "on_the_fly")):
        output = tmp_path / str(number)
        done = export.export_state(
            made, 2, output=output, config=ServingConfig(layout=layout)
        )
        assert done.path == output
        assert logits(output, "a") == expected
    # An older state, and its answer all the same.
    export.export_state(made, "a", output=tmp_path / "older")
    assert logits(tmp_path / "older", "a") == expected
    with pytest.raises(StateError, match="exists already"):
        export.export_state(made, 2, output=tmp_path / "older")


def test_a_version_that_is_gone_is_written_again(workdir):
    path = workdir.serving_path / "net" / "1"
    with pytest.raises(StateError, match="exists already"):
        export.export_state(workdir, 1, config=ServingConfig("net"))
    shutil.rmtree(path)
    assert (
        export.export_state(workdir, 1, config=ServingConfig("net")).path
        == path
    )
    assert logits(path, "a") == logits(path.parent / "2", "a")


def test_the_label_stable_is_moved(workdir):
    file = export.set_stable(workdir, 2, ServingConfig("net"))
    assert 'key: "stable"\n      value: 2' in file.read_text()
    export.set_stable(workdir, 1, ServingConfig("net"))
    assert 'key: "stable"\n      value: 1' in file.read_text()
    with pytest.raises(StateError, match="no version 3"):
        export.set_stable(workdir, 3, ServingConfig("net"))
    with pytest.raises(StateError, match="no versions; give the --model_name"):
        export.set_stable(workdir, 1, ServingConfig("other"))


@pytest.mark.parametrize("form", ["saved_model", "keras"])
def test_one_task_alone(made, tmp_path, form):
    output = tmp_path / f"a.{form}"
    done = export.export_task(made, "a", output, form=form)
    assert done.path == output and done.difference <= export.TOLERANCE
    net, _ = states.load(made)
    net.activate("a")
    images = tiny_nets.images()
    expected = net.predict(images, verbose=0)
    if form == "keras":
        found = keras.saving.load_model(output).predict(images, verbose=0)
        assert found.tobytes() == expected.tobytes()
    else:
        served = tf.saved_model.load(output)
        answer = served.signatures["serving_default"]
        found = answer(images=tf.constant(images))["scores"].numpy()
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-6)
        # The other task's head is not in it.
        stored = tf.train.list_variables(str(output / "variables/variables"))
        assert sum(shape == [10, 3] for _, shape in stored) == 1
    assert sorted(os.listdir(tmp_path)) == [output.name]


@pytest.mark.parametrize(
    ("form", "package"), [("litert", "ai_edge_litert"), ("onnx", "tf2onnx")]
)
def test_one_task_for_other_runtimes(made, tmp_path, form, package):
    pytest.importorskip(package, reason=f"pip install packnet_tf[{form}]")
    output = tmp_path / f"a.{form}"
    done = export.export_task(made, "a", output, form=form)
    assert 0 <= done.difference <= export.TOLERANCE
    assert output.stat().st_size > 1000
    assert sorted(os.listdir(tmp_path)) == [output.name]


@pytest.mark.parametrize("asks", [False, True])
def test_what_other_libraries_cannot_do_is_one_line(
    made, tmp_path, monkeypatch, asks
):
    def fail(*_, **__):
        raise RuntimeError("no such type\nand a trace of it")

    def write(model, path):
        path.write_bytes(b"x")
        return fail

    if asks:
        monkeypatch.setitem(export.FORMS, "keras", write)
    else:
        monkeypatch.setattr(keras.Model, "save", fail)
    with pytest.raises(
        NetworkError,
        match=r"^--format=keras: .* precision float32 .* \(no such type\); .*$",
    ):
        export.export_task(made, "a", tmp_path / "a.keras", form="keras")
    assert os.listdir(tmp_path) == []


def test_a_precision_that_a_format_does_not_have(tmp_path):
    pytest.importorskip("tf2onnx", reason="pip install packnet_tf[onnx]")
    keras.config.set_dtype_policy("mixed_bfloat16")
    try:
        net = PackNet(backbone())
        workdir = tiny_nets.packed_workdir(tmp_path / "w", ("a",), net=net)
    finally:
        keras.config.set_dtype_policy("float32")
    output = tmp_path / "out" / "a.onnx"
    with pytest.raises(NetworkError, match="onnx: .* mixed_bfloat16"):
        export.export_task(workdir, "a", output, form="onnx")
    assert os.listdir(output.parent) == []


@pytest.mark.parametrize(
    ("form", "module"),
    [("litert", "ai_edge_litert.interpreter"), ("onnx", "onnxruntime")],
)
def test_a_missing_extra_is_named(made, tmp_path, monkeypatch, form, module):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(NetworkError, match=rf"packnet_tf\[{form}\]"):
        export.export_task(made, "a", tmp_path / "a", form=form)
    assert os.listdir(tmp_path) == []


def test_a_file_that_answers_otherwise_is_refused(made, tmp_path, monkeypatch):
    def wrong(model, path):
        path.write_bytes(b"x")
        return lambda images: model.predict(images, verbose=0) + 0.01

    monkeypatch.setitem(export.FORMS, "keras", wrong)
    with pytest.raises(NetworkError, match="differ from those of Keras by 0.0"):
        export.export_task(made, "a", tmp_path / "a.keras", form="keras")
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("name", ["a", "a.h5", "a.keras.bak", "keras"])
def test_a_name_that_keras_does_not_read_is_refused(tmp_path, name):
    nowhere = Workdir(tmp_path / "w")  # No work is done before.
    with pytest.raises(FlagError, match=f"{name}: Keras .* ends in .keras"):
        export.export_task(nowhere, "a", tmp_path / name, form="keras")
    assert os.listdir(tmp_path) == []


def test_what_is_asked_for_has_to_be_there(made, tmp_path):
    with pytest.raises(TaskError, match="'dogs'; the tasks are: a, b"):
        export.export_task(made, "dogs", tmp_path / "x")
    with pytest.raises(NetworkError, match="--format=jpg: expected one of"):
        export.export_task(made, "a", tmp_path / "x", form="jpg")
    (tmp_path / "x").touch()
    with pytest.raises(StateError, match="exists already"):
        export.export_task(made, "a", tmp_path / "x")


def app(*arguments):
    return subprocess.run(
        [sys.executable, "apps/export.py", *arguments],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_app(workdir, tmp_path):
    where = f"--workdir={workdir.path}"
    done = app(where, "--task=a", f"--output={tmp_path / 'a'}")
    assert done.returncode == 0, done.stderr
    assert "differs from Keras by" in done.stdout
    done = app(where, "--stable=2", "--model_name=net")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith("models.config")
    done = app(where, "--format=onnx")
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("error: --format=onnx is")
