"""A network of a task's own, without PackNet: what it is compared with."""

import keras

from packnet_tf.compare.plain import probe_of
from packnet_tf.networks import build
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import Prepared
from packnet_tf.workflow.schedules import make_optimizer

_OPTIONS = {"mobilenet": {"alpha": 0.75}}


def train_plain(
    data: Prepared,
    options: TaskOptions,
    *,
    weights: str,
    image_size: int,
    learning_rate: float,
    frozen: bool = False,
    frozen_normalization: bool = False,
    network: str = "mobilenet",
) -> keras.Model:
    """Returns a network trained for as many epochs as PackNet.

    Args:
        data: The task's data.
        options: Gives the epochs of both phases together, the optimizer, the
            warm-up, the head's start and the seed, as for PackNet.
        weights: Path of the pretrained weights, or "none".
        image_size: Height and width in pixels.
        learning_rate: Peak rate, with one cosine decay.
        frozen: Whether only the classifier is trained.
        frozen_normalization: Whether batch normalization stays as it came, its
            statistics too.
        network: Its name; by default MobileNet 0.75.
    """
    # Dropout layers draw their seeds as they are made.
    keras.utils.set_random_seed(options.seed)
    backbone = build(
        network,
        image_size=image_size,
        weights=weights,
        options=_OPTIONS.get(network),
    ).backbone
    backbone.trainable = not frozen
    for layer in backbone.layers if frozen_normalization else ():
        if isinstance(layer, keras.layers.BatchNormalization):
            layer.trainable = False
    head = keras.layers.Dense(len(data.class_names), activation="softmax")
    scores = head(backbone.output)
    model = keras.Model(backbone.input, scores)
    if options.head_start == "probe":
        head.set_weights(probe_of(backbone, data))
    epochs = options.train_epochs + options.retrain_epochs
    model.compile(
        make_optimizer(
            options.optimizer,
            "cosine",
            learning_rate,
            epochs * data.train.steps,
            options.weight_decay,
            warmup_share=options.warmup_share,
        ),
        data.train.loss,
        metrics=["accuracy"],
    )
    for epoch in range(epochs):
        model.fit(data.train.epoch(epoch), verbose=0, shuffle=False)
    return model
