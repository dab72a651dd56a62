"""What the methods are made of, compared with their definitions."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from packnet_tf.compare import joint, lwf, piggyback
from packnet_tf.compare.kernels import kernel_layers
from packnet_tf.compare.methods import METHODS
from packnet_tf.compare.plain import values_of

RANDOM = np.random.default_rng(0)


def softmax(logits):
    shares = np.exp(logits - logits.max(-1, keepdims=True))
    return shares / shares.sum(-1, keepdims=True)


def test_masks_pass_gradients_as_they_are():
    scores = tf.constant([0.2, 0.05, -1.0, 0.0501])
    with tf.GradientTape() as tape:
        tape.watch(scores)
        used = piggyback.used(scores)
        loss = tf.reduce_sum(used * [1.0, 2.0, 3.0, 4.0])
    assert used.numpy().tolist() == [1.0, 0.0, 0.0, 1.0]
    assert tape.gradient(loss, scores).numpy().tolist() == [1.0, 2.0, 3.0, 4.0]


def test_distillation_is_the_cross_entropy_at_temperature_two():
    target, found = RANDOM.normal(size=(2, 5, 4)) * 3
    expected = -np.mean(
        np.sum(softmax(target / 2) * np.log(softmax(found / 2)), -1)
    )
    loss = lwf._soft_cross_entropy(
        tf.constant(softmax(target)), tf.constant(softmax(found))
    )
    assert float(loss) == pytest.approx(expected, rel=1e-5)


def test_joint_training_takes_each_image_to_its_own_head():
    spans = joint._spans([3, 2])
    assert spans == [(0, 3, 2), (3, 2, 0)]
    label = joint._among_all(tf.constant(1), spans[1])
    assert label.numpy().tolist() == [0, 0, 0, 0, 1]
    shares = joint._among_all(tf.constant([0.25, 0.75]), spans[1])
    assert shares.numpy().tolist() == [0, 0, 0, 0.25, 0.75]
    scores = tf.constant([[0.2, 0.3, 0.5, 0.9, 0.1]])
    loss = joint._of_its_task(label[None], scores)
    assert loss.numpy() == pytest.approx([-np.log(0.1)])


def test_joint_batches_have_every_image_once(cell):
    made = cell()
    learner = METHODS["joint"](made)
    spans = joint._spans([3, 2])
    batches = [[*map(np.asarray, b)] for b in learner._mixed(0, spans)]
    labels = np.concatenate([y for _, y in batches])
    counts = [len(task.train.source) for task in made.tasks]
    assert labels[:, :3].sum() == counts[0]
    assert labels[:, 3:].sum() == counts[1]
    mixed = [len({*np.argmax(y, -1) // 3}) for _, y in batches[:-1]]
    assert max(mixed) == 2
    again = np.concatenate([y for _, y in learner._mixed(0, spans)])
    assert np.array_equal(labels, again)


def test_adapters_are_on_all_kernels_that_keras_can_adapt(cell):
    learner = METHODS["lora"](cell())
    layers = kernel_layers(learner.backbone)
    assert len(layers) == 2 and len(learner._adapters) == 4
    for half, (layer, _) in zip(learner._adapters[::2], layers, strict=True):
        assert layer.lora_enabled and half.shape[-1] == 2
    images = np.full((2, 16, 16, 3), 90.0, np.float32)
    plain = cell().build().backbone(images)
    learner.begin(0)
    # New adapters change nothing.
    assert np.array_equal(plain, learner.backbone(images))
    trained = {id(v) for v in learner.models[0].trainable_variables}
    assert not trained & {id(kernel) for kernel in learner.kernels}
    assert {id(v) for v in learner._adapters} <= trained


@pytest.mark.parametrize("name", ["piggyback", "delta"])
def test_codes_that_say_nothing_leave_the_network_as_it_is(cell, name):
    learner = METHODS[name](cell())
    images = np.full((2, 16, 16, 3), 90.0, np.float32)
    learner.begin(0)
    head = learner.heads[0]
    expected = head(cell().build().backbone(images))
    assert np.array_equal(expected, learner.models[0](images))


def test_a_delta_is_a_sign_and_a_mean_magnitude(cell, monkeypatch):
    learner = METHODS["delta"](cell(tasks=1))
    start = values_of(learner.kernels)
    steps = iter([0.5, None])

    def train(self, place, model=None, **part):
        if next(steps) is not None:
            for kernel in self.kernels:
                shape = tuple(kernel.shape)
                kernel.assign(kernel + RANDOM.normal(size=shape))
            self.tuned = values_of(self.kernels)

    monkeypatch.setattr(METHODS["delta"].__mro__[2], "fit", train)
    learner.learn(0)
    learner.answering(0)
    for place, (before, after) in enumerate(
        zip(start, learner.tuned, strict=True)
    ):
        change = after - before
        size = np.abs(change).mean()
        expected = before + np.where(change > 0, size, -size)
        found = learner.effective(place)
        assert np.allclose(found, expected, rtol=1e-5, atol=1e-6)
        kernel = np.asarray(learner.kernels[place])
        assert kernel.tobytes() == before.tobytes()


def test_ewc_costs_nothing_at_first_and_holds_what_matters(cell):
    learner = METHODS["ewc"](cell(tasks=1))
    learner.begin(0)
    learner._add_fisher(0)
    assert all(np.all(f >= 0) for f in learner._fisher)
    assert all(np.any(f > 0) for f in learner._fisher[:1])
    learner.heads.append(learner.heads[0])
    learner.models.append(learner.models[0])
    found = []

    def train(model, *_, **__):
        images = scores = tf.zeros((1, 1))
        found.append(float(model.penalty(images, scores)))
        kernel = learner._variables[0]
        kernel.assign(kernel + 1.0)
        found.append(float(model.penalty(images, scores)))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("packnet_tf.compare.plain.train", train)
        patch.setattr(learner, "_add_fisher", lambda place: None)
        learner.cell.tasks.append(learner.cell.tasks[0])
        learner.fit(1)
    assert found[0] == 0.0
    expected = 0.5 * 1000 * learner._fisher[0].sum()
    assert found[1] == pytest.approx(expected, rel=1e-4)


def test_without_weights_the_first_task_makes_the_base(cell, network):
    import dataclasses

    made = dataclasses.replace(
        cell(tasks=1),
        network=dataclasses.replace(
            network, network="mlp", weights="none", network_options={"width": 4}
        ),
    )
    keras.utils.set_random_seed(0)
    learner = METHODS["private_only"](made)
    before = values_of(learner.kernels)
    learner.learn(0)
    for old, kernel in zip(before, learner.kernels, strict=True):
        assert not np.array_equal(old, kernel) and not kernel.trainable
    private = values_of(learner.private)
    for start, value in zip(learner._start, private, strict=True):
        assert np.array_equal(start, value)
