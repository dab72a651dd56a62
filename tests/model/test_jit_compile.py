"""XLA trains a step, and never answers for a packed task."""

import keras
import pytest
import tensorflow as tf
from support.blob_nets import (
    A_LABELS,
    B_LABELS,
    A,
    B,
    begin,
    new_net,
    pack,
    scores,
)

import packnet_tf as pn
from packnet_tf.model import compiled


@pytest.mark.parametrize("jit", [True, "auto"])
def test_a_packed_task_keeps_its_program(jit):
    net = new_net()
    pack(net, "a", A, A_LABELS)
    # Odd numbers of rows have programs of their own.
    parts = [A, A[:7], A[:1]]
    before = [scores(net, part) for part in parts]
    figures = net.evaluate(A, A_LABELS, verbose=0, return_dict=True)
    begin(net, "b", B, B_LABELS, jit_compile=jit)
    net.prune(0.5)
    net.fit(B, B_LABELS, verbose=0)
    net.pack()
    of_b = scores(net, B)
    for setting in (jit, False):
        net.compile(
            "sgd",
            "sparse_categorical_crossentropy",
            metrics=["accuracy"],
            jit_compile=setting,
        )
        net.activate("a")
        assert [scores(net, part) for part in parts] == before
        again = net.evaluate(A, A_LABELS, verbose=0, return_dict=True)
        assert again == figures
        net.activate("b")
        assert scores(net, B) == of_b


class PassedThroughPython(keras.layers.Layer):
    """Something that XLA cannot compile."""

    def call(self, inputs):
        outputs = tf.numpy_function(lambda x: x, [inputs], inputs.dtype)
        outputs.set_shape(inputs.shape)
        return outputs


def test_the_training_step_alone_is_compiled():
    inputs = keras.Input((16,))
    hidden = keras.layers.Dense(8)(PassedThroughPython()(inputs))
    net = pn.PackNet(keras.Model(inputs, hidden))
    begin(net, "a", jit_compile=True)
    net.evaluate(A, A_LABELS, verbose=0)
    net.predict(A, verbose=0)
    with pytest.raises(tf.errors.OpError, match="XLA"):
        net.fit(A, A_LABELS, verbose=0)


def test_several_workers_do_without(monkeypatch):
    net = new_net()
    monkeypatch.setattr(compiled, "are_several", lambda strategy: True)
    with pytest.raises(pn.ProtectionError, match="several workers"):
        net.compile("adam", "mse", jit_compile=True)
