"""The paper's networks, and a transformer: two tasks, by command line."""

import numpy as np
import pytest
import tensorflow as tf
from support.tiny_runs import make_images

from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir

SIZE = 64
CLASSES = {"first": ("blue", "green", "red"), "second": ("dark", "light")}


def logits(workdir, number, task, images):
    """Returns what the SavedModel of a state answers for a task."""
    (path,) = (workdir / "serving").glob(f"*/{number}")
    served = tf.saved_model.load(path)
    return served.signatures[task](images=images)["logits"].numpy()


@pytest.mark.slow
@pytest.mark.parametrize(
    "network, options",
    [
        ("vit", "width=16,depth=1,heads=2,dropout=0.1"),
        ("vgg16", ""),
        ("vgg16_bn", ""),
        ("resnet50", ""),
        ("densenet121", ""),
    ],
)
def test_a_second_task_leaves_the_first_as_it_is(
    tmp_path, run_app, network, options
):
    for number, (task, classes) in enumerate(CLASSES.items()):
        data = make_images(
            tmp_path / task, classes, train=16 // len(classes), seed=number
        )
        # Two steps an epoch.
        ended = run_app(
            "add_task",
            f"--workdir={tmp_path / 'w'}",
            f"--network={network}",
            f"--network_options={options}",
            "--weights=none",
            f"--image_size={SIZE}",
            f"--task={task}",
            f"--data={data}",
            "--batch_size=8",
            "--train_epochs=1",
            "--retrain_epochs=1",
            "--validation_share=0.1",
        )
        assert ended.code == 0, ended.stderr[-2000:]
        if number == 0:
            images = np.random.default_rng(0).uniform(
                0, 255, (2, SIZE, SIZE, 3)
            )
            images = tf.constant(images, tf.float32)
            before = logits(tmp_path / "w", 1, "first", images)
            digest = states.load(Workdir(tmp_path / "w"))[0].tasks[0].digest
    after = logits(tmp_path / "w", 2, "first", images)
    assert after.tobytes() == before.tobytes()
    assert np.isfinite(before).all() and before.std() > 0
    net, _ = states.load(Workdir(tmp_path / "w"))
    assert net.task("first").digest == digest
    # The live network answers the same, in a program of open batch size.
    net.activate("first")
    live = tf.function(
        lambda x: net.logits(x, training=False),
        input_signature=[tf.TensorSpec([None, SIZE, SIZE, 3])],
        autograph=False,
    )(images)
    assert live.numpy().tobytes() == before.tobytes()
    # Both own a share of the weights, of every kernel that is pruned.
    for path, shape, counts in net.ownership():
        assert counts.get(1), path
        assert sum(counts.values()) == np.prod(shape)
