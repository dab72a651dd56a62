"""Several replicas: every row once, no empty part, equal statistics."""

import types

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.errors import FlagError
from packnet_tf.model import replicas
from packnet_tf.model.packnet import PackNet


def strategy():
    return replicas.make_strategy(2)


def small_net():
    keras.utils.set_random_seed(5)
    with strategy().scope():
        net = PackNet(
            keras.Sequential(
                [
                    keras.layers.Input((6,)),
                    keras.layers.Dense(8, name="dense"),
                    keras.layers.BatchNormalization(name="norm"),
                ]
            )
        )
    net.add_task("one", 2)
    net.compile(
        keras.optimizers.Adam(0.01),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
    )
    return net


@pytest.mark.parametrize("rows", [33, 32, 31, 3, 2, 65])
@pytest.mark.parametrize("batch", [2, 8, 32])
def test_every_row_once_and_no_empty_part(rows, batch):
    two = strategy()
    dataset = tf.data.Dataset.from_tensor_slices(
        (np.arange(rows), np.arange(rows) * 2)
    ).batch(batch)
    seen = []
    for x, y in replicas.split_for_replicas(two, dataset):
        for part, twice in zip(
            two.experimental_local_results(x),
            two.experimental_local_results(y),
            strict=True,
        ):
            assert len(part) > 0
            assert np.array_equal(part * 2, twice)
            seen.extend(part.numpy().tolist())
    assert sorted(seen) == list(range(rows))


def test_too_few_rows_for_the_replicas():
    dataset = tf.data.Dataset.from_tensors(np.zeros((1, 3)))
    with pytest.raises(tf.errors.InvalidArgumentError, match="fewer rows"):
        list(replicas.split_for_replicas(strategy(), dataset))


@pytest.mark.parametrize("rows", [33, 40])
def test_statistics_are_equal_and_finite(rows):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(rows, 6)).astype("float32")
    y = rng.integers(0, 2, rows)
    net = small_net()
    history = net.fit(
        x, y, batch_size=32, epochs=2, validation_data=(x, y), verbose=0
    ).history
    assert np.all(np.isfinite(history["val_loss"]))
    assert np.all(np.isfinite(history["loss"]))
    for variable in net.non_trainable_variables:
        copies = [
            np.asarray(copy).tobytes()
            for copy in net.distribute_strategy.experimental_local_results(
                variable.value
            )
        ]
        assert copies[0] == copies[1]
    assert net.predict(x, batch_size=32, verbose=0).shape == (rows, 2)


def test_loss_shown_is_that_of_one_replica():
    """The first step's loss is that of the initial weights, not half."""
    rng = np.random.default_rng(0)
    x = rng.normal(size=(32, 6)).astype("float32")
    y = rng.integers(0, 2, 32)
    net = small_net()
    net.compile(keras.optimizers.SGD(0.0), "sparse_categorical_crossentropy")
    want = np.mean(
        keras.losses.sparse_categorical_crossentropy(y, net(x, training=False))
    )
    history = net.fit(x, y, batch_size=32, epochs=1, verbose=0).history
    assert history["loss"][0] == pytest.approx(want, rel=0.5)


def test_more_replicas_than_there_are():
    with pytest.raises(FlagError, match="--replicas=0"):
        replicas.make_strategy(0)


@pytest.mark.parametrize("count", range(2, 10))
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_what_is_equal_on_all_replicas_keeps_its_bytes(count, dtype):
    """In float32, the mean of three or of five to nine equals is another."""
    values = np.random.default_rng(1).normal(size=300)
    values[:2] = 0.485, -0.0
    copies = [tf.Variable(tf.cast(values, dtype)) for _ in range(count)]
    before = copies[0].numpy().tobytes()
    fake = types.SimpleNamespace(
        num_replicas_in_sync=count,
        experimental_local_results=lambda value: value,
        extended=None,
    )
    variable = types.SimpleNamespace(value=copies)
    replicas.equalize(fake, [variable])
    assert {copy.numpy().tobytes() for copy in copies} == {before}
    copies[0].assign(copies[0] + tf.cast(count, dtype))
    replicas.equalize(fake, [variable])
    after = {copy.numpy().tobytes() for copy in copies}
    assert len(after) == 1 and after != {before}
    replicas.equalize(fake, [variable])
    assert {copy.numpy().tobytes() for copy in copies} == after
