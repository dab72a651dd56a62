"""PackNet itself, by the phases that the apps run.

There is no base task to answer for: the pretrained network is pruned as the
base task is, has no head, and does not recover, which changes no added task.
"""

import dataclasses
import pathlib

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.compare.cell import Cell
from packnet_tf.compare.method import Method
from packnet_tf.errors import PromiseError
from packnet_tf.model.packnet import PackNet
from packnet_tf.workflow.base_run import make_base_task, new_net
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.in_memory import pack_in_memory

# Images whose logits are compared after every task.
_IMAGES = 8


class PackNetMethod(Method):
    """Tasks packed one after another into one network."""

    name = "packnet"

    def __init__(self, cell: Cell):
        super().__init__(cell)
        self._net = self._made()
        self._logits: list[bytes] = []

    def _made(self) -> PackNet:
        cell, options = self.cell, self.cell.network
        network = dataclasses.replace(
            cell.build(), head=None, classes=0, class_names=None
        )
        if not options.pretrained:
            return new_net(network, options)
        images = None
        if cell.options.reconstruct:
            number = cell.options.reconstruct_images
            images = training_images(cell.tasks[0], number)
        options = dataclasses.replace(options, base_recovery="none")
        strategy = tf.distribute.get_strategy()
        return make_base_task(
            network, options, None, cell.folder, strategy, images=images
        ).net

    def learn(self, place: int) -> None:
        """Trains, prunes, retrains and packs a task."""
        cell, net = self.cell, self._net
        task = cell.tasks[place]
        pack_in_memory(net, task, cell.options, place + 1, cell.folder)
        self._check_unchanged(place)

    def _check_unchanged(self, place: int) -> None:
        """Refuses a task whose logits have other bytes than when packed."""
        for earlier in range(place + 1):
            task = self.cell.tasks[earlier]
            images = next(iter(task.train.epoch(0)))[0][:_IMAGES]
            self._net.activate(task.name)
            logits = np.asarray(self._net.logits(images)).tobytes()
            if earlier == place:
                self._logits.append(logits)
            elif logits != self._logits[earlier]:
                raise PromiseError(
                    f"The logits of task {task.name!r} changed when "
                    f"{self.cell.tasks[place].name!r} was packed; expected "
                    "the same bytes. Please report this."
                )

    def answering(self, place: int) -> keras.Model:
        """Returns the network, with a task active."""
        self._net.activate(self.cell.tasks[place].name)
        return self._net

    def save(self, folder: pathlib.Path) -> None:
        """Writes the network as a packed state has it."""
        self._net.save(folder / "net.keras")
