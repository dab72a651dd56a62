"""Checks the operations of an untrusted SavedModel before it is loaded.

A SavedModel is a program, and loading it runs parts of it. The programs of a
packed state only compute: they touch no other process, no Python, and no
files except the SavedModel's own assets. SavedModels of TensorFlow 1 are
always refused, because loading them runs their graphs.
"""

import pathlib
import re

from google.protobuf.message import DecodeError

from packnet_tf.errors import StateError, first_line
from packnet_tf.tf_internals.files import saved_model_of
from packnet_tf.untrusted.operations import only_computes

_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
# TensorFlow's own programs for saving and restoring variables, which no other
# program calls, and the operations that they may have.
_OWN = re.compile(r"__inference__traced_(save|restore)_\d+")
_OF_OWN = {"SaveV2", "RestoreV2", "MergeV2Checkpoints", "ShardedFilename"}


def check_programs(folder: pathlib.Path) -> None:
    """Refuses a SavedModel that would do more than compute.

    Args:
        folder: The SavedModel.

    Raises:
        StateError: If it is damaged, of TensorFlow 1, has an asset outside
            of its files, or an operation that does more (named).
    """
    file = folder / "saved_model.pb"
    try:
        message = saved_model_of(file.read_bytes())
    except (OSError, DecodeError) as error:
        raise StateError(f"{file} is damaged: {first_line(error)}.") from error
    for graph in message.meta_graphs:
        for asset in graph.asset_file_def:
            if pathlib.PurePath(asset.filename).name != asset.filename:
                raise StateError(
                    f"{file}: its asset {asset.filename!r} is not among its "
                    "files; it is not loaded. Do not serve it; remove it, and "
                    "the next command that writes exports it again."
                )
        if not graph.HasField("object_graph_def"):
            raise StateError(
                f"{file} is of TensorFlow 1, which packnet_tf never writes; "
                "it is not loaded. Do not serve it; remove it, and the next "
                "command that writes exports it again."
            )
        functions = graph.graph_def.library.function
        named = {*graph.object_graph_def.concrete_functions}
        named.update(_called(functions))
        assets = _asset_arguments(graph)
        programs = {f.signature.name: f.node_def for f in functions}
        # The initializer is among the nodes outside of functions.
        nodes_of = {"of the graph": graph.graph_def.node, **programs}
        for name, nodes in nodes_of.items():
            own = _OWN.fullmatch(name) and name not in named
            for node in nodes:
                if only_computes(node.op) or (own and node.op in _OF_OWN):
                    continue
                if node.op == "ReadFile" and (
                    {*node.input} <= assets.get(name, set())
                ):
                    continue
                raise StateError(
                    f"{file}: its program {name} has the operation "
                    f"{node.op}, which does more than compute; it is not "
                    "loaded. Do not serve it; remove it, and the next "
                    "command that writes exports it again."
                )


def _asset_arguments(graph) -> dict[str, set[str]]:
    """Returns the arguments of each program that are always asset paths."""
    functions = graph.graph_def.library.function
    arguments = {
        f.signature.name: [argument.name for argument in f.signature.input_arg]
        for f in functions
    }
    programs = graph.object_graph_def.concrete_functions
    reached = _called(functions) | {*programs}
    found = {
        name: {*names} if name in reached else set()
        for name, names in arguments.items()
    }
    nodes = graph.object_graph_def.nodes
    for name, program in programs.items():
        # Bound inputs follow the arguments of the call.
        bound = list(program.bound_inputs)
        given = len(arguments.get(name, ())) - len(bound)
        for place, argument in enumerate(arguments.get(name, ())):
            if (
                place < given
                or nodes[bound[place - given]].WhichOneof("kind") != "asset"
            ):
                found[name].discard(argument)
    # Arguments passed on to other programs, until nothing changes.
    left = -1
    while left != (left := sum(map(len, found.values()))):
        for function in functions:
            own = found[function.signature.name]
            for node in function.node_def:
                for name in _called_by(node) & found.keys():
                    passed = list(node.input) if node.op in _CALLS else []
                    for place, argument in enumerate(arguments[name]):
                        if place >= len(passed) or passed[place] not in own:
                            found[name].discard(argument)
    return found


def _called(functions) -> set[str]:
    """Returns the names of functions that other functions call."""
    return {
        name
        for function in functions
        for node in function.node_def
        for name in _called_by(node)
    }


def _called_by(node) -> set[str]:
    """Returns names that include all functions that a node calls."""
    found = {node.op}
    for value in node.attr.values():
        found.add(value.func.name)
        found.update(f.name for f in value.list.func)
    return found
