"""Pruning with images: fitted weights are the task's own, the promise holds."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from support.phase_nets import IMAGES, LABELS, backbone, train

from packnet_tf.errors import DataError, TaskError
from packnet_tf.masks import ownership
from packnet_tf.masks.pruning import GRANULARITIES, SCOPES
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.tf_internals.layers import layers_of

pytestmark = pytest.mark.filterwarnings("ignore:images=")


def net_with(*tasks, strategy=None, images=IMAGES, private="per_task"):
    """A network with packed tasks, fitted when they were pruned."""
    keras.utils.set_random_seed(2)
    with (strategy or tf.distribute.get_strategy()).scope():
        net = PackNet(backbone(), private=private)
    for name in tasks:
        net.add_task(name, 3)
        train(net)
        net.prune(0.6, images=images)
        net.pack()
    return net


def in_training(net, name="new"):
    net.add_task(name, 3)
    train(net)
    return net


def features(net):
    return np.asarray(net.features(IMAGES, training=False))


def everything(net):
    """All bytes of a network, and what it says of its tasks."""
    values = [v.numpy().tobytes() for v in net.variables]
    records = [task.to_dict() for task in net.tasks]
    return values, records, net.phase, net.pretrained_kernels is None


def packed_answers(net):
    found = {}
    active = net.active_task.name
    for task in net.tasks:
        if task.packed:
            net.activate(task.name)
            found[task.name] = net.predict(IMAGES, verbose=0).tobytes()
    net.activate(active)
    return found


@pytest.mark.parametrize("granularity", GRANULARITIES)
@pytest.mark.parametrize("scope", SCOPES)
def test_the_pruned_network_answers_more_like_the_trained_one(
    scope, granularity
):
    how = {"scope": scope, "granularity": granularity}
    answers, masks = [], []
    for images in (None, IMAGES):
        net = in_training(net_with())
        wanted = features(net)
        net.prune(0.5, **how, images=images)
        answers.append(np.square(features(net) - wanted).mean())
        masks.append([np.asarray(k.mask) for k in net.masked_kernels()])
    assert answers[1] < 0.8 * answers[0]
    # Magnitude chooses; the fit changes values alone.
    np.testing.assert_equal(*masks)


@pytest.mark.parametrize("older", [("a",), ("a", "b", "c")])
@pytest.mark.parametrize("granularity", GRANULARITIES)
def test_older_tasks_keep_every_byte(older, granularity):
    net = in_training(net_with(*older))
    before = packed_answers(net)
    held = [
        (np.asarray(k.variable), np.asarray(k.mask))
        for k in net.masked_kernels()
    ]
    net.prune(0.5, granularity=granularity, images=IMAGES)
    owner = net.newest.owner
    moved = 0
    for kernel, (value, mask) in zip(net.masked_kernels(), held, strict=True):
        now, owners = np.asarray(kernel.variable), np.asarray(kernel.mask)
        theirs = (mask > 0) & (mask < owner)
        assert now[theirs].tobytes() == value[theirs].tobytes()
        assert not np.any(now[owners == ownership.FREE])
        moved += int((now != value)[owners == owner].sum())
    assert moved
    train(net)
    net.pack()
    net.verify_digests()
    assert packed_answers(net).items() >= before.items()


def test_the_same_images_give_the_same_bytes():
    nets = [in_training(net_with("a")) for _ in range(2)]
    for net in nets:
        net.prune(0.5, images=IMAGES)
    assert everything(nets[0]) == everything(nets[1])


def statistics(net):
    (norm,) = (
        layer
        for layer in layers_of(net.backbone)
        if isinstance(layer, keras.layers.BatchNormalization)
    )
    return [np.asarray(norm.moving_mean), np.asarray(norm.moving_variance)]


@pytest.mark.parametrize(
    ("private", "moves"), [("per_task", True), ("frozen", False)]
)
def test_statistics_follow_the_fit_where_they_are_the_tasks_own(private, moves):
    net = net_with("a", private=private)
    before = packed_answers(net)
    in_training(net)
    trained = statistics(net)
    net.prune(0.5, images=IMAGES)
    same = [
        np.array_equal(*p) for p in zip(trained, statistics(net), strict=True)
    ]
    assert same == [not moves] * 2
    assert packed_answers(net) == before
    # A new task's start, too.
    first = net_with()
    in_training(first, "base")
    unpruned = statistics(first)
    first.prune(0.5, images=IMAGES)
    assert not np.array_equal(statistics(first)[1], unpruned[1])
    kept = [
        value
        for variable, value in zip(
            first.private_variables, first.pretrained_private, strict=True
        )
        if "moving" in variable.path
    ]
    np.testing.assert_equal(kept, unpruned)


def test_labels_of_a_data_set_are_ignored():
    batches = tf.data.Dataset.from_tensor_slices((IMAGES, LABELS)).batch(10)
    found = []
    for images in (IMAGES, batches):
        net = in_training(net_with())
        net.prune(0.5, images=images)
        found.append(everything(net))
    assert found[0] == found[1]


def test_two_replicas_fit_what_one_fits():
    strategy = make_strategy(2)
    net = in_training(net_with("a", strategy=strategy))
    before = packed_answers(net)
    wanted = features(net)
    net.prune(0.5, images=IMAGES)
    fitted = np.square(features(net) - wanted).mean()
    for kernel in net.masked_kernels():
        copies = strategy.experimental_local_results(kernel.variable.value)
        assert len({copy.numpy().tobytes() for copy in copies}) == 1
    again = in_training(net_with("a", strategy=strategy))
    again.prune(0.5)
    assert fitted < 0.8 * np.square(features(again) - wanted).mean()
    net.pack()
    assert packed_answers(net).items() >= before.items()


def _spoiled():
    images = IMAGES.copy()
    images[-1] = np.inf
    return images


@pytest.mark.parametrize(
    "images",
    [
        IMAGES[:0],
        IMAGES[:, :4],
        _spoiled(),
        tf.data.Dataset.from_tensors(IMAGES).repeat(),
        IMAGES * 1e30,
    ],
    ids=["none", "shape", "infinity", "endless", "overflow"],
)
def test_bad_images_change_nothing(images):
    for net in (in_training(net_with()), in_training(net_with("a"))):
        before = everything(net)
        with pytest.raises(DataError) as caught:
            net.prune(0.5, images=images)
        assert "\n" not in str(caught.value)
        assert everything(net) == before
        train(net)


def test_a_new_task_starts_as_the_unpruned_network_answered():
    net = in_training(net_with(), "base")
    wanted = features(net)
    net.prune(0.7, images=IMAGES)
    net.pack()
    before = packed_answers(net)
    net.add_task("left_as_it_is", 3)
    plain = np.square(features(net) - wanted).mean()
    net.remove_task("left_as_it_is")
    net.add_task("fitted", 3, images=IMAGES)
    assert np.square(features(net) - wanted).mean() < 0.5 * plain
    assert packed_answers(net) == before
    train(net)
    net.pack()
    net.verify_digests()


def test_a_start_on_bad_images_adds_no_task():
    net = net_with("a", "b")
    net.activate("a")
    before = everything(net)
    with pytest.raises(DataError):
        net.add_task("c", 3, images=IMAGES[:, :4])
    assert everything(net) == before
    assert net.active_task.name == "a"


@pytest.mark.parametrize("origin", ["zero", "random"])
def test_images_without_a_pretrained_origin_are_refused(origin):
    net = net_with("a")
    with pytest.raises(TaskError, match="pretrained origin"):
        net.add_task("b", 3, origin=origin, images=IMAGES)
    with pytest.raises(TaskError, match="pretrained origin"):
        net_with().add_task("first", 3, images=IMAGES)
    assert [task.name for task in net.tasks] == ["a"]
