"""Makes the base task: prunes pretrained weights and recovers from that.

The paper prunes an ImageNet network by half and retrains it on ImageNet.
Most users do not have ImageNet, so the pruned network can instead learn from
the unpruned one, on the unlabelled images of the task at hand.
"""

import contextlib
import pathlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import PhaseError
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import Network
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord, Value
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.fit_images import saying_warnings
from packnet_tf.workflow.schedules import make_optimizer
from packnet_tf.workflow.train_loop import Say, Training, run_epochs


def new_net(network: Network, options: NetworkOptions) -> PackNet:
    """Returns a network without tasks over a backbone.

    Args:
        network: The backbone's network.
        options: The options of the network.
    """
    return PackNet(
        network.backbone,
        private=options.private,
        depthwise=options.depthwise,
        packed_precision=options.packed_precision,
    )


def make_base_task(
    network: Network,
    options: NetworkOptions,
    data: Prepared | None,
    folder: pathlib.Path,
    strategy: tf.distribute.Strategy,
    *,
    images: Any = None,
    log_folder: pathlib.Path | None = None,
    seed: int = 0,
    say: Say = print,
) -> Training:
    """Makes the base task of a network that comes with weights.

    Args:
        network: The network with its imported head, if it has one.
        options: The options of the network and its base task.
        data: The images to recover on, None without recovery. Only
            `base_recovery="data"` uses their labels.
        folder: Folder of the checkpoint.
        strategy: The strategy to train with.
        images: What to fit the weights that stay on, as for `PackNet.prune`;
            None leaves them as they are.
        log_folder: TensorBoard folder, or None.
        seed: Seed of everything random.
        say: Prints a line of progress.

    Returns:
        The network with its base task packed (not yet on disk), and the
        record of the work done.

    Raises:
        PhaseError: If a recovery in progress began with other images, batch
            size or seed.
    """
    with strategy.scope():
        net = new_net(network, options)
    distill = options.base_recovery == "distill"
    task = net.add_task(
        options.base_task,
        network.classes if network.head is not None else 0,
        class_names=network.class_names,
        head=network.head,
        # Distillation matches logits.
        activation="linear" if distill else "softmax",
    )
    # Built before anything is pruned.
    teacher = _Teacher(network) if distill else None
    with saying_warnings(say):
        net.prune(
            options.base_prune_fraction, scope=options.base_scope, images=images
        )
    fitted = "" if images is None else ", and those that stay are fitted"
    say(
        f"  {options.base_task}: {options.base_prune_fraction:.0%} of its "
        f"weights are pruned{fitted}"
    )
    if images is None and options.base_recovery == "none":
        say(
            "  note: nothing is fitted, which costs the base task most of its "
            "answers; --base_recovery=distill wins some back"
        )
    record = TrainingRecord(options.base_task)
    training = Training(net, record, folder, log_folder, say)
    if data is not None and options.base_recovery != "none":
        settings: dict[str, Value] = {
            "seed": seed,
            "steps": data.train.steps,
            "fitted": images is not None,
        }
        _recover(training, options, data, teacher, settings)
    task.activation = "softmax"
    net.pack()
    return training


def _recover(
    training: Training,
    options: NetworkOptions,
    data: Prepared,
    teacher: "_Teacher | None",
    settings: dict[str, Value],
) -> None:
    """Trains the pruned network on labels, or on the teacher's answers."""
    net = training.net
    kept = contextlib.nullcontext() if teacher is None else _kernels_kept(net)
    with kept:
        keras.utils.set_random_seed(int(settings["seed"] or 0))
        net.compile(
            make_optimizer(
                "adam",
                "cosine",
                options.base_learning_rate,
                options.base_recovery_epochs * data.train.steps,
            ),
            data.train.loss if teacher is None else relative_error,
        )
        _resume(training, settings)

        def batches(epoch):
            images = data.train.epoch(epoch)
            return images if teacher is None else teacher.label(images)

        run_epochs(
            training,
            options.base_recovery_epochs,
            batches,
            steps=data.train.steps,
        )


def _resume(training: Training, settings: dict[str, Value]) -> None:
    """Resumes from the recovery's checkpoint if there is one."""
    name, folder = training.record.name, training.folder
    training.record.phase = "recovery"
    training.record.settings = {"recovery": settings}
    found = checkpoints.read_record(folder)
    if found is None or found.name != name:
        return
    before = found.settings.get("recovery")
    if before is not None:
        # Older checkpoints do not say; what was restored goes on as it is.
        before = {"fitted": settings["fitted"], **before}
    if before != settings:
        raise PhaseError(
            f"The recovery of {name!r} began with other images, --batch_size, "
            f"--seed or --reconstruct ({before}, not {settings}); go on with "
            f"the same, or remove {folder} to begin it again."
        )
    training.record = checkpoints.restore(folder, training.net)
    training.say(f"  going on after epoch {training.record.epoch}")


@contextlib.contextmanager
def _kernels_kept(net: PackNet) -> Iterator[None]:
    """Restricts distillation to what belongs to the base task alone.

    Kernels trained on a few images of another task would be part of every
    later task.
    """
    kernels = [kernel.variable for kernel in net.masked_kernels()]
    for kernel in kernels:
        kernel.trainable = False
    try:
        yield
    finally:
        for kernel in kernels:
            kernel.trainable = True


@keras.saving.register_keras_serializable(package="packnet_tf")
def relative_error(teacher, student):
    """Returns each row's squared error relative to the teacher's square.

    All logits count equally. The cross entropy of the scores would preserve
    only the few classes in the images.

    Args:
        teacher: Values to match, of shape [batch, values].
        student: Values trained to match them, of the same shape.
    """
    teacher = tf.cast(teacher, student.dtype)
    error = tf.reduce_sum(tf.square(student - teacher), axis=-1)
    scale = tf.reduce_sum(tf.square(teacher), axis=-1)
    return tf.math.divide_no_nan(error, scale)


class _Teacher:
    """The unpruned network, whose answers are the labels."""

    def __init__(self, network: Network):
        outputs = network.backbone.output
        if network.head is not None:
            outputs = network.head(outputs)
        self._model = keras.Model(network.backbone.inputs, outputs)

    def label(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the batches with the teacher's answers as labels.

        Teacher and student each pass over the epoch, whose order and
        augmentation are fixed.
        """
        images = batches.map(lambda image, *_: image)
        answers = [self._model.predict_on_batch(batch) for batch in images]
        sizes = {len(a) for a in answers[:-1]} or {len(answers[0])}
        labels = tf.data.Dataset.from_tensor_slices(np.concatenate(answers))
        labels = labels.batch(sizes.pop())
        return tf.data.Dataset.zip(images, labels)
