"""MobileNet 0.75 with ImageNet weights, as most of the benchmarks take it."""

import pathlib
from typing import Any

import keras

from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options.network import NetworkOptions
from packnet_tf.workflow.base_run import make_base_task

SIZE = 96


def options_of(
    shared: str, image_size: int = SIZE, **changes: Any
) -> NetworkOptions:
    """Returns the network's options.

    Args:
        shared: The folder with `weights/`.
        image_size: Height and width in pixels.
        **changes: Other fields of `NetworkOptions`.
    """
    return NetworkOptions(
        network="mobilenet",
        network_options={"alpha": 0.75},
        weights=f"{shared}/weights/mobilenet_0.75_224_imagenet.weights.h5",
        image_size=image_size,
        **changes,
    )


def with_base_task(
    options: NetworkOptions, images: Any, folder: pathlib.Path, seed: int
) -> PackNet:
    """Returns a network with its base task packed, and no other.

    Args:
        options: As `options_of` returns them, with no recovery.
        images: What to fit on, or None.
        folder: For checkpoints.
        seed: Seed of everything random.
    """
    keras.utils.set_random_seed(seed)
    network = build(
        options.network,
        image_size=options.image_size,
        weights=options.weights,
        options=options.network_options,
    )
    strategy = make_strategy(1)
    return make_base_task(
        network, options, None, folder, strategy, images=images
    ).net
