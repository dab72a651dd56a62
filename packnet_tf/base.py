"""The base task: pretrained weights, pruned, and healed from it.

The paper prunes an ImageNet network by half and retrains it on ImageNet.
Most users do not have ImageNet, so the pruned network can instead learn from
the unpruned one, on the unlabelled images of the task at hand.
"""

import dataclasses
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf import checkpoints
from packnet_tf.model import PackNet
from packnet_tf.networks import Network
from packnet_tf.options import NetworkOptions
from packnet_tf.progress import PhaseProgress
from packnet_tf.schedules import make_optimizer

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
        net.add_task(
            options.base_task,
            network.classes if network.head is not None else 0,
            class_names=network.class_names,
            head=network.head,
        )
        # The network's own forward pass, before anything is pruned.
        teacher = None
        if options.base_recovery == "distill":
            teacher = _Teacher(network)
        net.prune(options.base_prune_fraction)
        self._say(
            f"  {options.base_task}: pruned by "
            f"{options.base_prune_fraction:.0%} of its weights"
        )
        if options.base_recovery != "none":
            self._recover(net, teacher)
        net.pack()
        return net

    def _recover(self, net: PackNet, teacher: "_Teacher | None") -> None:
        options = self._options
        loss = self._data.train.loss
        if teacher is not None:
            headed = self._network.head is not None
            loss = "categorical_crossentropy" if headed else "mse"
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
        record: dict[str, Any] = {
            "name": options.base_task,
            "options": dataclasses.asdict(options),
            "phase": "retrain",
            "epoch": 0,
        }
        found = checkpoints.read_record(self._folder)
        if found is not None and found["name"] == options.base_task:
            record = checkpoints.restore(self._folder, net)
            self._say(f"  going on after epoch {record['epoch']}")
        progress = PhaseProgress(
            f"{options.base_task} recovery",
            options.base_recovery_epochs,
            self._data.steps,
            done=record["epoch"],
            log_folder=self._log_folder,
        )
        while record["epoch"] < options.base_recovery_epochs:
            batches = self._data.train.epoch(record["epoch"])
            if teacher is not None:
                batches = teacher.label(batches)
            history = net.fit(
                batches, verbose=0, shuffle=False, callbacks=[progress]
            ).history
            record["epoch"] += 1
            checkpoints.save(self._folder, net, record)
            progress.end_epoch({"loss": history["loss"][-1]})


class _Teacher:
    """The unpruned network, which answers for the images it is shown."""

    def __init__(self, network: Network):
        features = network.backbone.output
        outputs = features
        if network.head is not None:
            logits = network.head(features)
            outputs = keras.layers.Activation("softmax", dtype="float32")(
                logits
            )
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
