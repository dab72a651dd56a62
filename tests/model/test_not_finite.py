"""A task whose numbers are NaN or infinite is neither packed nor exported."""

import keras
import numpy as np
import pytest
from support.phase_nets import IMAGES, LABELS, net_with, train

import packnet_tf as pn
from packnet_tf.errors import PackNetError, TaskError
from packnet_tf.model import phases
from packnet_tf.serving.export import export_task
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir


def in_retraining():
    net = net_with("one")
    net.add_task("two", 3)
    train(net)
    net.prune(0.5)
    return net


def spoil(variable, mask=None):
    value = np.array(variable)
    places = np.flatnonzero(np.ones(value.shape) if mask is None else mask)
    value.reshape(-1)[places[0]] = np.inf
    variable.assign(value)


def test_a_task_that_diverged_is_not_packed():
    net = in_retraining()
    net.compile(keras.optimizers.SGD(1e25), "sparse_categorical_crossentropy")
    net.fit(IMAGES, LABELS, epochs=3, verbose=0)
    with pytest.raises(TaskError, match="'two': .* are NaN or infinite; .*low"):
        net.pack()
    assert net.phase == "retrain" and net.task("two").digest is None
    net.remove_task("two")
    net.verify_digests()


@pytest.mark.parametrize("part", ["conv/kernel", "norm/moving_var", "head_2"])
def test_pack_names_what_is_not_finite(part):
    net = in_retraining()
    (kernel,) = [k for k in net.masked_kernels() if k.layer.name == "conv"]
    found = {
        "conv/kernel": kernel.variable,
        "norm/moving_var": net.backbone.get_layer("norm").moving_variance,
        "head_2": net.head_of("two").bias,
    }[part]
    own = np.asarray(kernel.mask) == 2 if part == "conv/kernel" else None
    spoil(found, own)
    with pytest.raises(TaskError, match=f"1 of the .*{part}.*NaN or inf"):
        net.pack()


def test_a_task_in_training_may_be_saved_as_it_is(tmp_path):
    net = in_retraining()
    spoil(net.head_of("two").bias)
    net.save(tmp_path / "n.keras")
    again = keras.saving.load_model(tmp_path / "n.keras")
    assert np.isinf(again.head_of("two").bias).any()


def test_what_was_packed_before_is_not_exported(tmp_path, monkeypatch):
    net = in_retraining()
    spoil(net.head_of("two").bias)
    with monkeypatch.context() as patch:
        # As earlier versions packed it.
        patch.setattr(phases, "refuse_not_finite", lambda *_: None)
        net.pack()
    with pytest.raises(TaskError, match="'two': 1 of the 3 numbers of head_2"):
        pn.export_saved_model(net, tmp_path / "s")
    workdir = Workdir(tmp_path / "w")
    workdir.path.mkdir()
    states.commit(workdir, net)
    with pytest.raises(PackNetError, match="'two': 1 of the 3 numbers"):
        export_task(workdir, "two", tmp_path / "t")
    assert export_task(workdir, "one", tmp_path / "o").path.exists()
