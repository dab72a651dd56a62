import keras
import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import states
from packnet_tf.storage.golden import probe_logits, read_probe
from packnet_tf.storage.workdir import Workdir


def test_logits_of_every_headed_task():
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "base", classes=0)
    tiny_nets.add_packed(net, "a")
    tiny_nets.add_packed(net, "b", classes=2)
    net.activate("a")
    images = tiny_nets.images()
    found = probe_logits(net, images)
    assert {name: v.shape for name, v in found.items()} == {
        "a": (5, 3),
        "b": (5, 2),
    }
    assert net.active_task.name == "a"
    for name, logits in found.items():
        expected = tiny_nets.graph_logits(net, name, images)
        assert logits.tobytes() == expected.tobytes()


def test_tasks_with_heads_alike_share_one_trace(monkeypatch):
    net = tiny_nets.packed_net(("a", "b", "c"))
    tiny_nets.add_packed(net, "base_alone", reads="base")
    tiny_nets.add_packed(net, "two", classes=2)
    deep = keras.Sequential(
        [
            keras.Input((tiny_nets.FEATURES,)),
            keras.layers.Dense(4, "tanh"),
            keras.layers.Dense(3),
        ]
    )
    net.add_task("deep", 3, head=deep)
    net.pack()
    images, traced = tiny_nets.images(), []
    expected = {
        task.name: tiny_nets.graph_logits(net, task.name, images).tobytes()
        for task in net.tasks
    }
    real = PackNet.features

    def features(self, *args, **kwargs):
        traced.append(self)
        return real(self, *args, **kwargs)

    monkeypatch.setattr(PackNet, "features", features)
    found = probe_logits(net, images)
    assert {name: v.tobytes() for name, v in found.items()} == expected
    # For a, b and c; for base_alone; for two; and for deep.
    assert len(traced) == 4


def test_a_probe_replays_after_a_commit(tmp_path):
    net = tiny_nets.packed_net(("a", "b"))
    images = tiny_nets.images()
    state = states.commit(Workdir(tmp_path), net, probe_images=images)
    kept, logits = read_probe(state)
    assert np.array_equal(kept, images)
    read, _ = states.load(tmp_path)
    for name, again in probe_logits(read, kept).items():
        assert logits[name].tobytes() == again.tobytes()
    # What can be read is not yet what was written.
    stored = {f"logits_{t.owner}": logits[t.name] for t in state.tasks}
    np.savez(state.probe_path, images=images.astype(str), **stored)
    with pytest.raises(StateError, match="probe.npz is not what was written"):
        read_probe(state)


def test_no_images_no_probe(tmp_path):
    net = tiny_nets.packed_net(("a",))
    state = states.commit(Workdir(tmp_path), net)
    assert read_probe(state) == (None, {})
