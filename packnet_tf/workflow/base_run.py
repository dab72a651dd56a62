"""The base task: pretrained weights, pruned, and healed from it.

The paper prunes an ImageNet network by half and retrains it on ImageNet.
Most users do not have ImageNet, so the pruned network can instead learn from
the unpruned one, on the unlabelled images of the task at hand.
"""

import contextlib
import pathlib
from collections.abc import Callable, Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import PhaseError
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import Network
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.workflow.schedules import make_optimizer
from packnet_tf.workflow.train_loop import run_epochs

Say = Callable[[str], None]


class BaseRun:
    """Makes the base task of a network that comes with weights.

    Args:
        network: The network with its imported head, if it has one.
        options: Facts of the network.
        data: The images to recover on: `.train.epoch(n)` and `.steps`; their
            labels are used with `base_recovery="data"` alone.
        folder: Folder of the checkpoint.
        log_folder: TensorBoard folder, or None.
        seed: Seed of everything random.
        say: Where lines of progress go.
    """

    def __init__(
        self,
        network: Network,
        options: NetworkOptions,
        data: Any,
        folder: pathlib.Path,
        log_folder: pathlib.Path | None = None,
        seed: int = 0,
        say: Say = print,
    ):
        self._network = network
        self._options = options
        self._data = data
        self._folder = folder
        self._log_folder = log_folder
        self._seed = seed
        self._say = say
        self.record = TrainingRecord(options.base_task)

    def run(self, strategy: tf.distribute.Strategy) -> PackNet:
        """Returns the network with its base task packed (not yet on disk).

        Args:
            strategy: The strategy to train with.
        """
        options, network = self._options, self._network
        with strategy.scope():
            net = PackNet(
                network.backbone,
                private=options.private,
                depthwise=options.depthwise,
            )
        distill = options.base_recovery == "distill"
        task = net.add_task(
            options.base_task,
            network.classes if network.head is not None else 0,
            class_names=network.class_names,
            head=network.head,
            # Logits are what the unpruned network is asked for.
            activation="linear" if distill else "softmax",
        )
        # The network's own forward pass, before anything is pruned.
        teacher = _Teacher(network) if distill else None
        net.prune(options.base_prune_fraction)
        self._say(
            f"  {options.base_task}: {options.base_prune_fraction:.0%} of its "
            "weights are pruned"
        )
        if options.base_recovery != "none":
            self._recover(net, teacher)
        task.activation = "softmax"
        net.pack()
        return net

    def _recover(self, net: PackNet, teacher: "_Teacher | None") -> None:
        if teacher is None:
            self._train(net, self._data.train.epoch, self._data.train.loss)
            return

        def answered(epoch):
            return teacher.label(self._data.train.epoch(epoch))

        with _kernels_kept(net):
            self._train(net, answered, relative_error)

    def _train(self, net: PackNet, batches: Callable, loss: Any) -> None:
        options = self._options
        keras.utils.set_random_seed(self._seed)
        net.compile(
            make_optimizer(
                "adam",
                "cosine",
                options.base_learning_rate,
                options.base_recovery_epochs * self._data.steps,
            ),
            loss,
        )
        record = self.record
        record.phase = "recovery"
        settings = {"seed": self._seed, "steps": self._data.steps}
        record.settings = {"recovery": settings}
        found = checkpoints.read_record(self._folder)
        if found is not None and found.name == options.base_task:
            before = found.settings.get("recovery")
            if before != settings:
                raise PhaseError(
                    f"The recovery of {options.base_task!r} began with other "
                    f"images, --batch_size or --seed ({before}, "
                    f"not {settings}); go on with the same, or remove "
                    f"{self._folder} to begin it again."
                )
            record = self.record = checkpoints.restore(self._folder, net)
            self._say(f"  going on after epoch {record.epoch}")

        run_epochs(
            net,
            record,
            options.base_recovery_epochs,
            batches,
            steps=self._data.steps,
            folder=self._folder,
            log_folder=self._log_folder,
        )


@contextlib.contextmanager
def _kernels_kept(net: PackNet) -> Iterator[None]:
    """Leaves what distillation may change to what is the base task's alone.

    Kernels that it fitted to a few images of another task would be part of
    every task to come. As they are, a new task starts from the unpruned
    network exactly: its free weights have their old values, and so have all
    others.
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
    """Returns, for each row, the squared error relative to the teacher's.

    All logits count alike. The cross entropy of the scores would ask for the
    few classes that the images show, and lose the others.

    Args:
        teacher: What is to be matched, [batch, values].
        student: What is trained to match it.
    """
    teacher = tf.cast(teacher, student.dtype)
    error = tf.reduce_sum(tf.square(student - teacher), axis=-1)
    scale = tf.reduce_sum(tf.square(teacher), axis=-1)
    return tf.math.divide_no_nan(error, scale)


class _Teacher:
    """The unpruned network, which answers for the images it is shown."""

    def __init__(self, network: Network):
        outputs = network.backbone.output
        if network.head is not None:
            outputs = network.head(outputs)
        self._model = keras.Model(network.backbone.inputs, outputs)

    def label(self, batches: tf.data.Dataset) -> tf.data.Dataset:
        """Returns the batches with the teacher's answers for labels.

        Two passes over an epoch whose order and augmentation are fixed: the
        teacher's, then the student's.
        """
        images = batches.map(lambda image, *_: image)
        answers = [self._model.predict_on_batch(batch) for batch in images]
        sizes = {len(a) for a in answers[:-1]} or {len(answers[0])}
        labels = tf.data.Dataset.from_tensor_slices(np.concatenate(answers))
        labels = labels.batch(sizes.pop())
        return tf.data.Dataset.zip(images, labels)
