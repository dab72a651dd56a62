"""Requests that TensorFlow Serving answers before it shows a new version.

The first request to a signature takes longer than all others, because its
program is optimized then. The server replays the records that lie beside a
SavedModel while it loads it, so that no client waits for that.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from packnet_tf.data.images.pixel_path import blank_png

# Where the server looks.
PATH = pathlib.Path("assets.extra") / "tf_serving_warmup_requests"

_Function: TypeAlias = tf.types.experimental.PolymorphicFunction


def write(
    folder: pathlib.Path,
    signatures: Mapping[str, _Function],
    tasks: Sequence[str],
    model_name: str = "",
) -> bool:
    """Writes one request for each signature, of one row.

    The records are `PredictionLog` protos of the package
    `tensorflow-serving-api` (the extra `serving`); without it, none are
    written.

    Args:
        folder: The SavedModel's folder.
        signatures: Its signatures, by name.
        tasks: Names of the tasks, for `by_task`.
        model_name: Name of the model.

    Returns:
        Whether they were written.
    """
    try:
        from tensorflow_serving.apis import predict_pb2, prediction_log_pb2
    except ImportError:
        return False
    path = folder / PATH
    path.parent.mkdir(exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for name, function in sorted(signatures.items()):
            request = predict_pb2.PredictRequest()
            request.model_spec.name = model_name
            request.model_spec.signature_name = name
            for spec in function.input_signature:
                request.inputs[spec.name].CopyFrom(_example(spec, tasks[-1]))
            log = prediction_log_pb2.PredictionLog()
            log.predict_log.request.CopyFrom(request)
            writer.write(log.SerializeToString())
    return True


def _example(spec: tf.TensorSpec, task: str):
    """Returns a value for an input; one row, and all open sizes are 1."""
    value: Any = 0
    if spec.dtype == tf.string:
        value = {"image_bytes": blank_png(), "task": task}.get(spec.name, "")
    proto = tf.make_tensor_proto(value, spec.dtype)
    # One value stands for all of the shape: a record of a hundred bytes.
    shape = [side or 1 for side in spec.shape]
    proto.tensor_shape.CopyFrom(tf.TensorShape(shape).as_proto())
    return proto
