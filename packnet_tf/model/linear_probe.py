"""A linear probe: the best head for the features as they are.

Training that starts from it keeps more of what the features know than from a
random head, whose gradients distort them first (Kumar et al., "Fine-Tuning can
Distort Pretrained Features and Underperform Out-of-Distribution", ICLR 2022).
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import DataError, TaskError
from packnet_tf.model import heads
from packnet_tf.task import Task

# More would change the head little, and cost time.
MOST_IMAGES = 4096
_STEPS = 300
_RATE = 0.02
# Of the squared weights on standardized features. On birds, cars and flowers
# (validation data, one seed) all of .0003 to .01 came within two points of the
# best.
_DECAY = 1e-3


def fit_head(net: Any, data: tf.data.Dataset) -> None:
    """Fits the head of the task in training to labels; nothing else changes.

    It is a softmax regression with weight decay on the features in inference,
    computed once. Use it before `fit`.

    Args:
        data: Batches of (inputs, class numbers); the first 4,096 examples
            count. They are best not augmented.

    Raises:
        PhaseError: If no task is in training, or another one is active.
        TaskError: If its head is not one linear `Dense` layer, or its
            activation not softmax.
        DataError: If there are no examples, or a label is no class.

    Example:

    >>> net.add_task("cars", classes=196)
    >>> net.fit_head(train)
    """
    task = net.book.in_training("fit_head")
    head = net.head_of(task.name)
    if head is None or task.head is not None or task.activation != "softmax":
        raise TaskError(
            f"fit_head() of task {task.name!r}: it is for a head that is one "
            "Dense layer of classes, with softmax; train this one with fit()."
        )
    features, labels = _examples(net, task, data)
    kernel, bias = solve(features, labels, task.classes)
    head.kernel.assign(kernel)
    head.bias.assign(bias)


def solve(
    features: np.ndarray, labels: np.ndarray, classes: int
) -> tuple[np.ndarray, np.ndarray]:
    """Returns the kernel and bias of a softmax regression.

    Args:
        features: float32 of shape [examples, features].
        labels: Class numbers of shape [examples].
        classes: Number of classes.

    Returns:
        float32 arrays of shapes [features, classes] and [classes].
    """
    mean = features.mean(0)
    spread = features.std(0)
    # A feature that hardly varies would get weights so large that training
    # begins with huge steps; this floor costs less than half a point.
    spread = np.maximum(spread, 0.3 * (spread.mean() or 1.0))
    layer = keras.layers.Dense(
        classes,
        kernel_initializer="zeros",
        kernel_regularizer=keras.regularizers.L2(_DECAY),
        dtype="float32",
    )
    model = keras.Sequential([keras.Input(features.shape[1:]), layer])
    model.compile(
        keras.optimizers.Adam(
            keras.optimizers.schedules.CosineDecay(_RATE, _STEPS)
        ),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
    )
    scaled = tf.constant((features - mean) / spread)
    answers = tf.constant(labels)
    for _ in range(_STEPS):
        model.train_on_batch(scaled, answers)
    kernel, bias = layer.get_weights()
    kernel = kernel / spread[:, None]
    return kernel, bias - mean @ kernel


def _examples(
    net: Any, task: Task, data: tf.data.Dataset
) -> tuple[np.ndarray, np.ndarray]:
    features, labels, count = [], [], 0
    for x, y, *_ in data:
        found = heads.flat(net.backbone(x, training=False))
        features.append(np.asarray(found, np.float32))
        labels.append(np.asarray(y))
        count += len(labels[-1])
        if count >= MOST_IMAGES:
            break
    if not count:
        raise DataError(f"fit_head() of task {task.name!r}: no examples.")
    numbers = np.concatenate(labels)
    if (
        numbers.ndim != 1
        or numbers.min() < 0
        or numbers.max() >= task.classes
        or (numbers % 1).any()
    ):
        raise DataError(
            f"fit_head() of task {task.name!r}: expected class numbers from 0 "
            f"to {task.classes - 1}, one for each example."
        )
    return np.concatenate(features)[:MOST_IMAGES], numbers[:MOST_IMAGES]
