"""The file formats that one task can be exported to, and how to run them."""

import contextlib
import importlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import NetworkError
from packnet_tf.tf_internals.layers import layers_of

Run = Callable[[np.ndarray], np.ndarray]

# The modules that a form needs; the extra of its name installs them.
_NEEDED = {
    "litert": ("ai_edge_litert.interpreter",),
    "onnx": ("tf2onnx", "onnxruntime"),
}


def check_form(form: str) -> None:
    """Refuses an unknown form, or one whose packages are missing.

    Args:
        form: The name, one of `FORMS`.

    Raises:
        NetworkError: Naming the known forms, or what to install.
    """
    if form not in FORMS:
        raise NetworkError(
            f"--format={form}: expected one of {', '.join(FORMS)}."
        )
    for module in _NEEDED.get(form, ()):
        try:
            importlib.import_module(module)
        except ImportError as error:
            raise NetworkError(
                f"--format={form} needs the package "
                f"{module.partition('.')[0]!r}, which is not installed; "
                f'pip install "packnet_tf[{form}]".'
            ) from error


@contextlib.contextmanager
def _named(path: pathlib.Path, ending: str) -> Iterator[pathlib.Path]:
    """Lets Keras write a file under a name by which it knows the format."""
    file = path.with_name(path.name + ending)
    try:
        yield file
        file.rename(path)
    finally:
        file.unlink(missing_ok=True)


def _keras(model: keras.Model, path: pathlib.Path) -> Run:
    with _named(path, ".keras") as file:
        model.save(file)
        copy = keras.saving.load_model(file)
    return lambda images: np.asarray(copy.predict(images, verbose=0))


def save_plain(model: keras.Model, path: pathlib.Path) -> None:
    """Writes a plain model as a SavedModel with one signature.

    Keras's own export stores each weight twice with this TensorFlow.

    Args:
        model: The model, with one output.
        path: The folder to make.
    """
    taken = model.inputs
    names = ["images"] if _takes_images(model) else [i.name for i in taken]
    specs = [
        tf.TensorSpec(i.shape, i.dtype, name=name)
        for i, name in zip(taken, names, strict=True)
    ]

    @tf.function(input_signature=specs, autograph=False)
    def serve(*given):
        # Keras warns about inputs that are not in the model's structure.
        inputs = keras.tree.pack_sequence_as(model.input, given)
        return {"scores": model(inputs, training=False)}

    module = tf.Module(name="plain")
    module.weights = [variable.value for variable in model.variables]
    module.serve = serve
    tf.saved_model.save(
        module, str(path), signatures={"serving_default": serve}
    )


def _takes_images(model: keras.Model) -> bool:
    return len(model.inputs) == 1 and len(model.inputs[0].shape) == 4


def _saved_model(model: keras.Model, path: pathlib.Path) -> Run:
    save_plain(model, path)
    # `run` has to keep the loaded object alive.
    served = tf.saved_model.load(str(path))

    def run(images: np.ndarray) -> np.ndarray:
        return np.asarray(served.serve(tf.constant(images))["scores"])

    return run


def _litert(model: keras.Model, path: pathlib.Path) -> Run:
    from ai_edge_litert.interpreter import Interpreter

    with _named(path, ".tflite") as file:
        model.export(str(file), format="litert", verbose=False)

    def run(images: np.ndarray) -> np.ndarray:
        interpreter = Interpreter(model_path=str(path))
        (given,) = interpreter.get_input_details()
        interpreter.resize_tensor_input(given["index"], images.shape)
        interpreter.allocate_tensors()
        interpreter.set_tensor(given["index"], images)
        interpreter.invoke()
        (made,) = interpreter.get_output_details()
        return interpreter.get_tensor(made["index"])

    return run


def _onnx(model: keras.Model, path: pathlib.Path) -> Run:
    import onnxruntime

    adapted = [
        layer.name
        for layer in layers_of(model)
        if isinstance(layer, keras.layers.Normalization)
    ]
    if adapted:
        raise NetworkError(
            f"Keras writes the statistics of layer {adapted[0]!r} "
            "(Normalization) as inputs of the ONNX graph; use "
            "--format=saved_model and tf2onnx's --saved-model."
        )
    # Keras does not infer the signature of a model that was never called.
    signature = keras.tree.map_structure(
        lambda given: tf.TensorSpec(given.shape, given.dtype, given.name),
        model.input,
    )
    with _named(path, ".onnx") as file:
        model.export(
            str(file), format="onnx", verbose=False, input_signature=[signature]
        )

    def run(images: np.ndarray) -> np.ndarray:
        session: Any = onnxruntime.InferenceSession(
            str(path), providers=["CPUExecutionProvider"]
        )
        (given,) = session.get_inputs()
        return session.run(None, {given.name: images})[0]

    return run


FORMS: dict[str, Callable[[keras.Model, pathlib.Path], Run]] = {
    "saved_model": _saved_model,
    "keras": _keras,
    "litert": _litert,
    "onnx": _onnx,
}
