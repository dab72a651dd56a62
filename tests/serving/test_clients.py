"""A workdir's served model, asked the ways that clients ask.

The server here is `serving_double.py`. Where a `tensorflow_model_server` is
on the PATH, the same requests go to it too, over gRPC and REST.
"""

import contextlib
import io
import json
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import threading
import time
import urllib.request

import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import tiny_nets

from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.versions import publish
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

grpc = pytest.importorskip(
    "grpc", reason="gRPC: pip install packnet_tf[serving]"
)
pytest.importorskip(
    "tensorflow_serving",
    reason="TensorFlow Serving's protos: pip install packnet_tf[serving]",
)
from tensorflow_serving.apis import (  # noqa: E402
    predict_pb2,
    prediction_service_pb2_grpc,
)

TESTS = pathlib.Path(__file__).parents[1]
SERVER = shutil.which("tensorflow_model_server")
TASKS = ("a", "b", "c")


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A served model of two versions, of two and three tasks."""
    workdir = Workdir(tmp_path_factory.mktemp("clients") / "w")
    net = tiny_nets.packed_net(())
    for name in TASKS:
        tiny_nets.add_packed(net, name)
        if len(net.tasks) > 1:
            state = states.commit(workdir, net)
            publish(workdir, state, ServingConfig("packnet"))
        else:
            states.commit(workdir, net)
    return workdir.serving_path / "packnet"


@pytest.fixture(scope="module")
def served(folder):
    return tf.saved_model.load(folder / "3")


def environment():
    return {
        **{k: v for k, v in os.environ.items() if k != "PYTHONPATH"},
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }


@contextlib.contextmanager
def double(folder):
    process = subprocess.Popen(
        [sys.executable, TESTS / "support/serving_double.py", folder, "2", "3"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env=environment(),
    )
    try:
        yield int(process.stdout.readline()), None
    finally:
        process.stdin.close()
        process.wait(60)


@contextlib.contextmanager
def model_server(folder):
    ports = []
    for _ in range(2):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    process = subprocess.Popen(
        [
            SERVER,
            f"--port={ports[0]}",
            f"--rest_api_port={ports[1]}",
            f"--model_config_file={folder / 'models.config'}",
            "--allow_version_labels_for_unavailable_models=true",
        ]
    )
    try:
        deadline = time.time() + 120
        while True:
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", ports[1])).close()
                break
            assert time.time() < deadline and process.poll() is None
            time.sleep(0.2)
        yield ports
    finally:
        process.terminate()
        process.wait(60)


@pytest.fixture(
    scope="module",
    params=[
        double,
        pytest.param(
            model_server,
            marks=pytest.mark.skipif(
                SERVER is None, reason="no tensorflow_model_server on the PATH"
            ),
        ),
    ],
    ids=["double", "tensorflow_model_server"],
)
def server(request, folder):
    with request.param(folder) as ports:
        yield ports


@pytest.fixture
def stub(server):
    with grpc.insecure_channel(f"127.0.0.1:{server[0]}") as channel:
        yield prediction_service_pb2_grpc.PredictionServiceStub(channel)


def request_of(signature, version=None, **inputs):
    request = predict_pb2.PredictRequest()
    request.model_spec.name = "packnet"
    request.model_spec.signature_name = signature
    if version is not None:
        request.model_spec.version.value = version
    for name, value in inputs.items():
        request.inputs[name].CopyFrom(tf.make_tensor_proto(value))
    return request


def answers_of(response):
    return {n: tf.make_ndarray(v) for n, v in response.outputs.items()}


def offline(served, signature, **inputs):
    found = served.signatures[signature](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    return {name: value.numpy() for name, value in found.items()}


def files(count=3):
    random = np.random.default_rng(0)
    found = []
    for _ in range(count):
        stream = io.BytesIO()
        pixels = random.integers(0, 256, (20, 30, 3), np.uint8)
        Image.fromarray(pixels).save(stream, "JPEG")
        found.append(stream.getvalue())
    return found


def requests():
    """Returns inputs for each signature."""
    images = tiny_nets.images(3)
    found = {name: {"images": images} for name in TASKS}
    found |= {f"{n}_bytes": {"image_bytes": files()} for n in TASKS}
    found["by_task"] = {"images": images, "task": ["c", "a", "b"]}
    for name in ("serving_default", "all_tasks", "auto"):
        found[name] = {"images": images}
    return found


def test_every_signature_over_grpc(stub, served):
    asked = requests()
    assert asked.keys() == served.signatures.keys()
    for name, inputs in asked.items():
        found = answers_of(stub.Predict(request_of(name, **inputs)))
        expected = offline(served, name, **inputs)
        assert found.keys() == expected.keys()
        for output, value in expected.items():
            if value.dtype == object:
                assert found[output].tolist() == value.tolist()
            else:
                assert found[output].tobytes() == value.tobytes()


def test_an_older_version_answers_the_same(stub):
    images = tiny_nets.images(3)
    old, new = (
        answers_of(stub.Predict(request_of("a", version, images=images)))
        for version in (2, 3)
    )
    assert old["logits"].tobytes() == new["logits"].tobytes()
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request_of("c", 2, images=images))
    assert '"c" not found' in error.value.details()


def test_errors_reach_the_client(stub):
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request_of("a_bytes", image_bytes=[*files(1), b"no"]))
    assert error.value.code() == grpc.StatusCode.INVALID_ARGUMENT
    assert "image_bytes: row 1 " in error.value.details()
    images = tiny_nets.images(2)
    with pytest.raises(grpc.RpcError) as error:
        stub.Predict(request_of("by_task", images=images, task=["a", "x"]))
    assert "row 1 asks for x " in error.value.details()


def test_rest(server, served):
    if server[1] is None:
        pytest.skip("the double has no REST; a tensorflow_model_server has")
    images = tiny_nets.images(2)
    body = {"signature_name": "a", "inputs": {"images": images.tolist()}}
    answer = urllib.request.urlopen(
        f"http://127.0.0.1:{server[1]}/v1/models/packnet/labels/stable:predict",
        json.dumps(body).encode(),
    )
    scores = json.load(answer)["outputs"]["scores"]
    expected = offline(served, "a", images=images)["scores"]
    np.testing.assert_allclose(scores, expected, rtol=1e-6)


def hammer(port, served, clients, seconds, at_least):
    """Lets clients mix tasks and batches; every answer is compared."""
    rows = (1, 2, 5)
    asked = {
        (name, count): request_of(name, images=tiny_nets.images(count, seed=9))
        for name in TASKS
        for count in rows
    }
    expected = {
        (name, count): offline(
            served, name, images=tiny_nets.images(count, seed=9)
        )["logits"].tobytes()
        for name, count in asked
    }
    keys = list(asked)
    deadline = time.time() + seconds
    sent, right, wrong = [0] * clients, [0] * clients, []

    def client(number):
        random = np.random.default_rng(number)
        try:
            with grpc.insecure_channel(f"127.0.0.1:{port}") as channel:
                stub = prediction_service_pb2_grpc.PredictionServiceStub(
                    channel
                )
                while time.time() < deadline or sent[number] < at_least:
                    key = keys[random.integers(len(keys))]
                    sent[number] += 1
                    answer = stub.Predict(asked[key], timeout=120)
                    found = answers_of(answer)["logits"].tobytes()
                    right[number] += found == expected[key]
        except Exception as error:
            wrong.append(f"client {number}: {error}")

    threads = [
        threading.Thread(target=client, args=(n,)) for n in range(clients)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert right == sent and min(sent) >= at_least


def test_many_clients_get_their_own_answers(server, served):
    hammer(server[0], served, clients=50, seconds=0, at_least=3)


@pytest.mark.slow
def test_50_clients_for_a_minute(server, served):
    hammer(server[0], served, clients=50, seconds=60, at_least=3)


def test_the_command_line_of_saved_models(folder, tmp_path):
    # One process for all: each start of it takes seconds.
    arguments = {}
    for name, inputs in requests().items():
        given = []
        for key, value in inputs.items():
            np.save(tmp_path / f"{name}_{key}.npy", np.asarray(value))
            given.append(f"{key}={tmp_path / f'{name}_{key}.npy'}")
        (tmp_path / name).mkdir()
        arguments[name] = ["run", "--dir", str(folder / "3")] + [
            *("--tag_set", "serve", "--signature_def", name),
            *("--inputs", ";".join(given), "--outdir", str(tmp_path / name)),
        ]
    arguments["show"] = ["show", "--dir", str(folder / "3"), "--all"]
    program = (
        "import sys, json\n"
        "for name in ('keras', 'tf_keras', 'packnet_tf'):\n"
        "    sys.modules[name] = None\n"
        "from tensorflow.python.tools import saved_model_cli as cli\n"
        "for given in json.loads(sys.argv[1]):\n"
        "    sys.argv[1:] = given\n"
        "    parser = cli.create_parser()\n"
        "    args = parser.parse_args()\n"
        "    args.func()\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, json.dumps([*arguments.values()])],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    served = tf.saved_model.load(folder / "3")
    for name, inputs in requests().items():
        assert f"signature_def['{name}']" in done.stdout
        for output, value in offline(served, name, **inputs).items():
            found = np.load(
                tmp_path / name / f"{output}.npy", allow_pickle=True
            )
            assert found.shape == value.shape
            if value.dtype != object:
                assert found.tobytes() == value.tobytes()
