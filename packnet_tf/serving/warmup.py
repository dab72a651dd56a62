"""Warmup requests, which TensorFlow Serving replays while it loads a version.

The first request to a signature is slow because its program is optimized
then; with warmup no client waits for that.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from packnet_tf.data.images.pixel_path import blank_png

# Where TensorFlow Serving looks for them.
PATH = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"

_Function: TypeAlias = tf.types.experimental.PolymorphicFunction


def write(
    folder: pathlib.Path,
    signatures: Mapping[str, _Function],
    tasks: Sequence[str],
    model_name: str = "",
) -> bool:
    """Writes a request of one row for each signature.

    The records are `PredictionLog` protos of the package
    `tensorflow-serving-api` (the extra `serving`); without it, none are
    written.

    Args:
        folder: The SavedModel's folder.
        signatures: Its signatures, by name.
        tasks: Names of the tasks that `by_task` knows, if there are any.
        model_name: Name of the model.

    Returns:
        Whether they were written.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    path = folder / PATH
    task = tasks[-1] if tasks else ""
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in sorted(signatures.items()):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for spec in function.input_signature:
                request.inputs[spec.name].CopyFrom(_example(spec, task))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return True


def _example(spec: tf.TensorSpec, task: str):
    """Returns one row for an input, with 1 for every open size."""
    value: Any = 0
    if spec.dtype == tf.string:
        value = {"image_bytes": blank_png(), "task": task}.get(spec.name, "")
    proto = tf.make_tensor_proto(value, spec.dtype)
    # A single value fills the whole shape, which keeps the record tiny.
    shape = [side or 1 for side in spec.shape]
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return proto
