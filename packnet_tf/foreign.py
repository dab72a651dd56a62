"""SavedModels from anywhere: what their programs may not do.

A SavedModel is a program, and loading one runs parts of it. A workdir may
come from a stranger, so the operations are read before: those of a packed
state compute, and none of them touches files, other processes or Python.
"""

import pathlib
import re

from google.protobuf.message import DecodeError
from tensorflow.core.protobuf import saved_model_pb2

from packnet_tf.errors import StateError

_OUTSIDE = re.compile(
    r".*(PyFunc|File|Reader|Dataset|Iterator|Summary|Print|Save|Restore"
    r"|Checkpoint|Rpc|Debug|Dump|Remote|Socket|Bigtable|Import|Library).*"
)
# TensorFlow's own programs for writing and reading the variables. Nothing
# calls them when a SavedModel is loaded for its signatures.
_OWN = re.compile(r"__inference__traced_(save|restore)_\d+")


def check_programs(folder: pathlib.Path) -> None:
    """Refuses a SavedModel that would do more than compute.

    Args:
        folder: The SavedModel.

    Raises:
        StateError: Naming the first operation of that kind.
    """
    file = folder / "saved_model.pb"
    message = saved_model_pb2.SavedModel()
    try:
        message.ParseFromString(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise StateError(f"{file} is damaged: {error}.") from error
    for graph in message.meta_graphs:
        functions = graph.graph_def.library.function
        named = {*graph.object_graph_def.concrete_functions}
        named.update(_called(functions))
        for function in functions:
            name = function.signature.name
            if _OWN.fullmatch(name) and name not in named:
                continue
            for node in function.node_def:
                if _OUTSIDE.fullmatch(node.op):
                    raise StateError(
                        f"{file}: its program {name} has the operation "
                        f"{node.op}, which does more than compute; it is not "
                        "loaded. Do not serve it; remove it, and the next "
                        "command that writes exports it again."
                    )


def _called(functions) -> set[str]:
    """Returns the names of functions that other functions call."""
    found = set()
    for function in functions:
        for node in function.node_def:
            found.add(node.op)
            for value in node.attr.values():
                found.add(value.func.name)
                found.update(f.name for f in value.list.func)
    return found
