"""Private names of Keras and TensorFlow are used in `tf_internals` alone."""

import ast
import importlib
import inspect

import keras
import pytest
import tensorflow as tf
from support import ROOT

PACKAGE = ROOT / "packnet_tf"
ALLOWED = PACKAGE / "tf_internals"
FILES = sorted(
    path
    for path in [*PACKAGE.rglob("*.py"), *(ROOT / "apps").glob("*.py")]
    if ALLOWED not in path.parents
)
PRIVATE_MODULES = (
    "keras.src",
    "tensorflow.python",
    "tensorflow.core",
    "tensorflow.compiler",
)
# Documented for users in spite of their underscore.
PUBLIC = {
    "_exit",  # os
    "_create_resource",  # tf.saved_model.experimental.TrackableResource
    "_initialize",  # the same
}


def is_private(name):
    return (
        name.startswith("_")
        and not name.startswith("__")
        and name not in PUBLIC
    )


def library_names():
    """Returns the private names that objects of the libraries have."""
    dense = keras.layers.Dense(2)
    dense.build((None, 2))
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile("adam", "mse", metrics=["mae"])
    model.optimizer.build(model.trainable_variables)
    functional = keras.Model(model.inputs, model.outputs)
    attention = keras.layers.MultiHeadAttention(1, 2)
    attention.build((None, 2, 2), (None, 2, 2))
    objects = [
        dense,
        model,
        functional,
        attention,
        dense.kernel,
        dense.kernel.value,
        model.outputs[0],
        model.optimizer,
        keras.optimizers.MultiOptimizer
        if hasattr(keras.optimizers, "MultiOptimizer")
        else keras.optimizers.SGD,
        keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD()),
        keras.layers.BatchNormalization(),
        keras.layers.Lambda(lambda x: x),
        keras.layers.LSTM(2),
        keras.metrics.Mean(),
        keras.losses.MeanSquaredError(),
        keras.callbacks.Callback(),
        tf.data.Dataset.range(1),
        tf.distribute.get_strategy(),
        tf.Module(),
    ]
    return {
        name
        for thing in objects
        for name in [*dir(thing), *getattr(thing, "__dict__", ())]
        if is_private(name)
    }


LIBRARY = library_names()


def defined_in_the_package():
    """Returns the private names that the package itself gives to things."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                    found.add(name)
                case ast.Name(id=name, ctx=ast.Store()):
                    found.add(name)
                case ast.Attribute(
                    value=ast.Name(id="self"), attr=name, ctx=ast.Store()
                ):
                    found.add(name)
    return {name for name in found if is_private(name)}


OURS = defined_in_the_package()


def library_bases(path):
    """Returns for each class of a module what it inherits from libraries."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    if parts[0] == "apps":
        return {}
    name = ".".join(part for part in parts if part != "__init__")
    module = importlib.import_module(name)
    return {
        cls.__name__: {
            private
            for base in cls.__mro__
            if base.__module__.split(".")[0] in ("keras", "tensorflow")
            for private in vars(base)
            if is_private(private)
        }
        for cls in vars(module).values()
        if inspect.isclass(cls) and cls.__module__ == name
    }


def uses_of(path):
    """Yields line and text of each private name of a library in a file."""
    tree = ast.parse(path.read_text())
    inherited = library_bases(path)
    inside = {}
    for cls in ast.walk(tree):
        if isinstance(cls, ast.ClassDef):
            for node in ast.walk(cls):
                inside[node] = inherited.get(cls.name, set())
            for node in cls.body:
                names = []
                if isinstance(node, ast.FunctionDef):
                    names = [node.name]
                elif isinstance(node, ast.Assign):
                    names = [
                        t.id for t in node.targets if isinstance(t, ast.Name)
                    ]
                for name in names:
                    if name in inherited.get(cls.name, ()):
                        yield node.lineno, f"{cls.name}.{name} is overridden"
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node.module:
            if node.module.startswith(PRIVATE_MODULES):
                yield node.lineno, f"from {node.module}"
        elif isinstance(node, ast.Import):
            for alias in node.names:
                if alias.name.startswith(PRIVATE_MODULES):
                    yield node.lineno, f"import {alias.name}"
        elif isinstance(node, ast.Attribute):
            name, text = node.attr, ast.unparse(node)
            if text.startswith("tf.__internal__") or text.startswith(
                ("keras.src", "tf.python", "tf.compat.v1")
            ):
                yield node.lineno, text
            if not is_private(name):
                continue
            own = isinstance(node.value, ast.Name) and node.value.id == "self"
            theirs = inside.get(node, set()) if own else LIBRARY
            if name in theirs or name not in OURS:
                yield node.lineno, text
        elif (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id in ("getattr", "setattr", "hasattr", "delattr")
            and len(node.args) > 1
            and isinstance(node.args[1], ast.Constant)
            and is_private(str(node.args[1].value))
        ):
            name = node.args[1].value
            if name in LIBRARY or name not in OURS:
                yield node.lineno, ast.unparse(node)


@pytest.mark.parametrize(
    "path", FILES, ids=lambda path: str(path.relative_to(ROOT))
)
def test_no_private_name_of_a_library_is_used(path):
    assert not [f"line {line}: {text}" for line, text in uses_of(path)]
