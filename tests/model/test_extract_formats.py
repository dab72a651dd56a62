"""What becomes of an extracted task: int8, LiteRT, ONNX, Keras alone."""

import subprocess
import sys

import keras
import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet

# Rounding to 8 bits; scores are shares of 1.
INT8_TOLERANCE = 0.05


@pytest.fixture(scope="module")
def net():
    return tiny_nets.packed_net(("a", "b"))


@pytest.fixture(scope="module")
def images():
    return tiny_nets.images()


@pytest.fixture
def plain(net, images):
    """The older of two tasks, and its scores."""
    model = extract(net, "a")
    return model, model.predict(images, verbose=0)


def scores_of(net, task, images):
    net.activate(task)
    return net.predict(images, verbose=0)


@pytest.mark.parametrize("task", ["a", "b"])
def test_it_answers_with_the_tasks_bytes_from_stock_layers(net, images, task):
    model = extract(net, task)
    expected = scores_of(net, task, images)
    assert model.predict(images, verbose=0).tobytes() == expected.tobytes()
    assert not [
        type(part).__name__
        for part in model._flatten_layers()
        if not type(part).__module__.startswith("keras.")
    ]
    # No masks, and no more weights than the network has for one task.
    masks = sum(np.size(k.mask) for k in net.masked_kernels())
    heads = sum(head.count_params() for head in net.heads)
    head = net.head_of(task).count_params()
    total = net.count_params() - masks - heads + head
    assert model.count_params() == total


def test_its_file_needs_keras_alone(plain, images, tmp_path):
    model, expected = plain
    model.save(tmp_path / "a.keras")
    np.save(tmp_path / "images.npy", images)
    program = (
        "import sys; sys.modules['packnet_tf'] = None\n"
        "import keras, numpy as np\n"
        "model = keras.saving.load_model('a.keras')\n"
        "x = np.load('images.npy')\n"
        "np.save('scores.npy', model.predict(x, verbose=0))\n"
    )
    subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, check=True, timeout=300
    )
    found = np.load(tmp_path / "scores.npy")
    assert found.tobytes() == expected.tobytes()


def test_it_can_be_trained_on_and_the_network_stays(net, plain, images):
    model, expected = plain
    model.compile("sgd", "sparse_categorical_crossentropy")
    model.fit(images, np.arange(len(images)) % 3, epochs=2, verbose=0)
    assert model.predict(images, verbose=0).tobytes() != expected.tobytes()
    assert scores_of(net, "a", images).tobytes() == expected.tobytes()
    net.verify_digests()


def test_it_can_be_quantized(net, plain, images, tmp_path):
    model, expected = plain
    model.quantize("int8")
    dense = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.Dense)
    ]
    assert dense and all(x.quantization_mode == "int8" for x in dense)
    assert all(x._kernel.dtype == "int8" for x in dense)
    found = model.predict(images, verbose=0)
    np.testing.assert_allclose(found, expected, atol=INT8_TOLERANCE)
    assert found.tobytes() != expected.tobytes()
    model.save(tmp_path / "int8.keras")
    loaded = keras.saving.load_model(tmp_path / "int8.keras")
    assert loaded.predict(images, verbose=0).tobytes() == found.tobytes()
    net.verify_digests()


def interpreter_of(path):
    """LiteRT's interpreter: of the extra, or the one inside TensorFlow."""
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        Interpreter = tf.lite.Interpreter  # noqa: N806
    return Interpreter(model_path=str(path))


def run_litert(path, images):
    interpreter = interpreter_of(path)
    (given,) = interpreter.get_input_details()
    interpreter.resize_tensor_input(given["index"], images.shape)
    interpreter.allocate_tensors()
    interpreter.set_tensor(given["index"], images)
    interpreter.invoke()
    (made,) = interpreter.get_output_details()
    return interpreter.get_tensor(made["index"])


def test_it_converts_to_litert(plain, images, tmp_path):
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT: pip install packnet_tf[litert]"
    )
    model, expected = plain
    path = tmp_path / "a.tflite"
    model.export(path, format="litert", verbose=False)
    found = run_litert(path, images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.std() > 0


def test_it_converts_to_litert_with_weights_of_8_bits(plain, images, tmp_path):
    pytest.importorskip(
        "ai_edge_litert", reason="LiteRT: pip install packnet_tf[litert]"
    )
    model, expected = plain
    model.export(
        tmp_path / "small.tflite",
        format="litert",
        verbose=False,
        optimizations=[tf.lite.Optimize.DEFAULT],
    )
    found = run_litert(tmp_path / "small.tflite", images)
    np.testing.assert_allclose(found, expected, atol=INT8_TOLERANCE)


@pytest.fixture
def onnx_scores():
    """Returns a function that runs an ONNX file; skips without the extra."""
    for package in ("onnx", "tf2onnx", "onnxruntime"):
        pytest.importorskip(
            package, reason="ONNX: pip install packnet_tf[onnx]"
        )
    import onnxruntime

    def run(path, images):
        session = onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
        (given,) = session.get_inputs()
        (found,) = session.run(None, {given.name: images})
        return found

    return run


def test_it_converts_to_onnx(images, tmp_path, onnx_scores):
    keras.utils.set_random_seed(0)
    backbone = keras.Sequential(
        [
            keras.Input(images.shape[1:]),
            keras.layers.Rescaling(1 / 127.5, offset=-1),
            keras.layers.Conv2D(8, 3, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.SeparableConv2D(8, 3, activation="relu"),
            keras.layers.GlobalAveragePooling2D(),
        ]
    )
    net = PackNet(backbone)
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    model = extract(net, "a")
    expected = model.predict(images, verbose=0)
    assert expected.tobytes() == scores_of(net, "a", images).tobytes()
    model.export(str(tmp_path / "a.onnx"), format="onnx", verbose=False)
    found = onnx_scores(tmp_path / "a.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
    assert found.std() > 0


def test_it_converts_to_onnx_from_a_saved_model(
    plain, images, tmp_path, onnx_scores
):
    """The way for networks with a `Normalization` layer.

    Keras's own export turns its statistics into inputs of the ONNX graph.
    """
    model, expected = plain
    model.export(str(tmp_path / "a"), verbose=False)
    subprocess.run(
        [
            sys.executable,
            *("-m", "tf2onnx.convert", "--saved-model", "a"),
            *("--output", "a.onnx"),
        ],
        cwd=tmp_path,
        check=True,
        timeout=300,
        capture_output=True,
    )
    found = onnx_scores(tmp_path / "a.onnx", images)
    np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)
