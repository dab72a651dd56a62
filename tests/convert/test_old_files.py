"""Files of networks that release 0.1 wrote are read for ever."""

import pathlib

import keras
import numpy as np
import pytest
from support import old_nets, two_tasks
from support.kept_files import needs_keras

import packnet_tf as pn
from packnet_tf.convert.coverage import coverage

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


def read(name):
    """Returns a kept network, its batch, and the scores of its tasks."""
    needs_keras("3.15")
    net = keras.saving.load_model(FIXTURES / f"{name}_v0.1.keras")
    return net, old_nets.KEPT[name][2], np.load(FIXTURES / f"{name}_v0.1.npz")


@pytest.mark.parametrize("name", old_nets.KEPT)
def test_its_tasks_answer(name):
    net, x, kept = read(name)
    net.verify_digests()
    for task in ("one", "two"):
        net.activate(task)
        scores = net.predict(x, verbose=0)
        # Bytes are for the machine that wrote them.
        assert np.abs(scores - kept[task]).max() < 1e-6
        plain = pn.extract(net, task)
        assert plain.predict(x, verbose=0).tobytes() == scores.tobytes()


def test_what_was_private_inside_a_block_still_is(tmp_path):
    net, x, _ = read("block")
    make, skip, _ = old_nets.KEPT["block"]
    new = pn.PackNet(make(), skip=skip)
    found, expected = coverage(net.backbone), coverage(new.backbone)
    assert found.weights_masked == expected.weights_masked
    assert len(found.skipped) == len(expected.skipped) == 3
    assert [
        (k.name, tuple(k.variable.shape)) for k in net.masked_kernels()
    ] == [(k.name, tuple(k.variable.shape)) for k in new.masked_kernels()]
    packed = {name: two_tasks.scores(net, name, x) for name in ("one", "two")}
    two_tasks.check_files(net, packed, x, tmp_path)


def test_what_models_shared_is_one_layer():
    with pytest.warns(UserWarning, match="Layer 'both'.*keep the file"):
        net, _, _ = read("shared")
    assert len(net.masked_kernels()) == 3
    new = pn.PackNet(old_nets.shared())
    assert len(net.backbone.weights) == len(new.backbone.weights)
