"""A loss that is not finite stops the phase, and the epoch before stays."""

import dataclasses
import re

import numpy as np
import pytest
import tensorflow as tf
from support import tiny_nets

from packnet_tf.errors import PackNetError, PhaseError
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checkpoints
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.workflow import preflight
from packnet_tf.workflow.schedules import make_optimizer
from packnet_tf.workflow.train_loop import Training, run_epochs

STEPS = 4


def batches(broken):
    """Returns epochs of 4 steps; in one of them, one weight is broken."""

    def epoch(number):
        images = tiny_nets.images(2 * STEPS, seed=number)
        weights = np.ones(2 * STEPS, np.float32)
        if number == broken[0]:
            weights[2 * broken[1] + 1] = broken[2]
        labels = np.arange(2 * STEPS) % 3
        rows = tf.data.Dataset.from_tensor_slices((images, labels, weights))
        return rows.batch(2)

    return epoch


def train(folder, broken, phase="train"):
    net = tiny_nets.packed_net(("a",))
    net.add_task("b", 3)
    net.compile(
        make_optimizer("adam", "constant", 0.25, 3 * STEPS),
        "sparse_categorical_crossentropy",
    )
    options = TaskOptions(task="b", schedule="constant", learning_rate=0.25)
    record = TrainingRecord("b", phase=phase)
    record.settings[phase] = options.settings(phase)
    training = Training(net, record, folder)
    run_epochs(training, 3, batches(broken), steps=STEPS)


def test_the_step_and_the_rate_are_named_and_the_epoch_before_stays(tmp_path):
    line = (
        "The loss became nan in step 3 of epoch 2 of the train phase, at "
        "learning rate 0.25; what was trained before that epoch is kept. Run "
        "the same command again with a lower --learning_rate."
    )
    with pytest.raises(PackNetError, match=re.escape(line)):
        train(tmp_path, (1, 2, np.nan))
    record = checkpoints.read_record(tmp_path)
    assert record.epoch == 1 and record.diverged
    with np.load(tmp_path / "checkpoint.npz") as arrays:
        assert all(
            np.isfinite(arrays[name]).all()
            for name in arrays
            if arrays[name].dtype == np.float32
        )
    # The phase may go on at another rate, and with nothing else.
    changed = {"task": "b", "schedule": "constant"}
    preflight.check_settings(record, TaskOptions(**changed, learning_rate=0.1))
    with pytest.raises(PhaseError, match="--optimizer=adam, not sgd"):
        preflight.check_settings(
            record,
            TaskOptions(**changed, learning_rate=0.1, optimizer="sgd"),
        )
    checkpoints.remove(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_it_is_found_in_the_first_step_too_and_forgotten_later(tmp_path):
    with pytest.raises(PackNetError, match="inf in step 1 of epoch 3"):
        train(tmp_path, (2, 0, np.inf))
    record = checkpoints.read_record(tmp_path)
    assert record.epoch == 2 and record.diverged
    # One more epoch, and the rate belongs to the phase again.
    with pytest.raises(PackNetError, match="step 4 of epoch 2"):
        train(tmp_path, (1, 3, np.nan))
    checkpoints.mark_diverged(tmp_path, dataclasses.replace(record, epoch=7))
    record = checkpoints.read_record(tmp_path)
    assert record.epoch == 1 and not record.diverged
    with pytest.raises(PhaseError, match="--learning_rate=0.25, not 0.1"):
        preflight.check_settings(
            record,
            TaskOptions(task="b", schedule="constant", learning_rate=0.1),
        )
