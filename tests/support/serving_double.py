"""A gRPC server for tests, around the session loader of TensorFlow Serving.

A test double, not TensorFlow Serving: the same protos and the same loader,
one model, no batching, no versions beyond those it is given.

  python tests/serving_double.py PATH/packnet 2 3

prints its port, and serves these versions until its input is closed. Neither
Keras nor packnet_tf can be imported in it.
"""

import pathlib
import sys

for _name in ("keras", "tf_keras", "packnet_tf"):
    sys.modules[_name] = None

from concurrent import futures  # noqa: E402

import grpc  # noqa: E402
import tensorflow as tf  # noqa: E402
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

v1 = tf.compat.v1


class Version:
    """One SavedModel in a session of its own, as the server has it."""

    def __init__(self, path):
        self.session = v1.Session(graph=tf.Graph())
        with self.session.graph.as_default():
            self.signatures = v1.saved_model.loader.load(
                self.session, ["serve"], str(path)
            ).signature_def

    def predict(self, request):
        signature = self.signatures[
            request.model_spec.signature_name or "serving_default"
        ]
        outputs = signature.outputs
        wanted = list(request.output_filter) or list(outputs)
        found = self.session.run(
            {name: outputs[name].name for name in wanted},
            {
                signature.inputs[name].name: tf.make_ndarray(value)
                for name, value in request.inputs.items()
            },
        )
        return {n: tf.make_tensor_proto(v) for n, v in found.items()}


class Service(prediction_service_pb2_grpc.PredictionServiceServicer):
    """Answers `Predict`."""

    def __init__(self, name, versions):
        self._name = name
        self._versions = versions

    def Predict(self, request, context):  # noqa: N802
        spec = request.model_spec
        number = spec.version.value or max(self._versions)
        if spec.name != self._name or number not in self._versions:
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Servable not found: {spec.name} {number}",
            )
        version = self._versions[number]
        if (
            spec.signature_name
            and spec.signature_name not in version.signatures
        ):
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f'Serving signature name: "{spec.signature_name}" not found',
            )
        try:
            found = version.predict(request)
        except tf.errors.OpError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, error.message)
        response = predict_pb2.PredictResponse()
        response.model_spec.CopyFrom(spec)
        response.model_spec.version.value = number
        for name, value in found.items():
            response.outputs[name].CopyFrom(value)
        return response


def main():
    folder = pathlib.Path(sys.argv[1])
    versions = {int(n): Version(folder / n) for n in sys.argv[2:]}
    server = grpc.server(futures.ThreadPoolExecutor(8))
    prediction_service_pb2_grpc.add_PredictionServiceServicer_to_server(
        Service(folder.name, versions), server
    )
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    print(port, flush=True)
    sys.stdin.read()
    server.stop(None)


if __name__ == "__main__":
    main()
