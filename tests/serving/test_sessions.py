"""SavedModels in sessions, which TensorFlow Serving loads and closes."""

import os
import subprocess
import sys

import keras
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.saved_model import export_saved_model


def test_a_session_with_two_states_does_not_mix_views(tmp_path):
    # One graph and one session for both: names are all that tells apart.
    nets = [tiny_nets.packed_net(("a", "b"), seed=seed) for seed in (0, 1)]
    images = tiny_nets.images()
    paths = [
        export_saved_model(net, tmp_path / str(number))
        for number, net in enumerate(nets)
    ]
    v1 = tf.compat.v1
    with v1.Session(graph=tf.Graph()) as session:
        outputs = []
        for number, path in enumerate(paths):
            graph = v1.saved_model.loader.load(
                session, ["serve"], str(path), import_scope=f"n{number}"
            )
            signature = graph.signature_def["a"]
            outputs.append(
                session.run(
                    f"n{number}/{signature.outputs['logits'].name}",
                    {f"n{number}/{signature.inputs['images'].name}": images},
                )
            )
    for net, found in zip(nets, outputs, strict=True):
        expected = tiny_nets.graph_logits(net, "a", images)
        assert found.tobytes() == expected.tobytes()


_MEMORY = """
import gc, sys
import tensorflow as tf
v1 = tf.compat.v1

def kept():
    gc.collect()
    try:
        import ctypes
        ctypes.CDLL("libc.so.6").malloc_trim(0)
    except OSError:
        pass
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) / 1024

def once():
    with v1.Session(graph=tf.Graph()) as session:
        v1.saved_model.loader.load(session, ["serve"], sys.argv[1])
        return kept()

once()
closed = kept()
inside = [once() for _ in range(4)]
print(inside[-1] - kept(), kept() - closed)
"""


@pytest.mark.slow
def test_a_closed_session_gives_its_memory_back(tmp_path):
    inputs = keras.Input((4, 4, 3))
    x = keras.layers.Dense(2000)(keras.layers.Flatten()(inputs))
    net = PackNet(keras.Model(inputs, keras.layers.Dense(2000)(x)))
    for name in ("a", "b", "c"):
        tiny_nets.add_packed(net, name)
    path = export_saved_model(net, tmp_path / "3")
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, str(path)],
        # With oneDNN, TensorFlow keeps what is freed in a pool of its own, so
        # that the system never sees it; and malloc keeps what is small.
        env={
            **os.environ,
            "TF_CPP_MIN_LOG_LEVEL": "3",
            "TF_ENABLE_ONEDNN_OPTS": "0",
            "MALLOC_MMAP_THRESHOLD_": "1000000",
        },
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    freed, grown = map(float, done.stdout.split())
    # Three views of 16 MB each; four sessions would have left 200 MB.
    assert freed > 40 and grown < 20
