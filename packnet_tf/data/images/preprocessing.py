"""The record of how a task's images become squares of the network's size."""

import dataclasses
from collections.abc import Mapping
from typing import Any

from packnet_tf.errors import DataError

# For manifests: what another program needs to get the same pixels.
PIXEL_FACTS = {
    "dct_method": "INTEGER_ACCURATE",
    "resize_method": "bilinear",
    "antialias": True,
    "rounded_to": "uint8",
}

_RESIZES = ("short_side", "squash")
_CROPS = ("random", "resized", "none")

# Height and width of images that can be permuted, MNIST's.
PERMUTED_SIDE = 28


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How the images of a task become squares of the network's size.

    Attributes:
        resize: `"short_side"` keeps the aspect ratio and cuts a square;
            `"squash"` does not (the paper's CUBS and Cars).
        crop: `"random"`: training cuts its square at a random place of an
            image 8/7 as large, evaluation in the centre (256 and 224 pixels
            in the paper). `"resized"`: training cuts a random rectangle with
            8 to 100 % of that image's area and an aspect ratio from 3/4 to
            4/3, and squashes it (section 4 of the paper). `"none"`: always
            the centre, and squashed images are not cut at all.
        flip: Whether training mirrors images, each with probability 1/2.
        box: Whether images are first cut to their bounding boxes, if the
            source has them.
        permutation: Seed of one fixed permutation of the pixels of 28 x 28
            images, or None (the task `permuted_mnist/SEED`).
    """

    resize: str = "short_side"
    crop: str = "random"
    flip: bool = True
    box: bool = False
    permutation: int | None = None

    def __post_init__(self) -> None:
        for name, legal in (("resize", _RESIZES), ("crop", _CROPS)):
            value = getattr(self, name)
            if value not in legal:
                raise DataError(
                    f"Preprocessing {name}={value!r}: expected one of "
                    f"{', '.join(legal)}."
                )
        seed = self.permutation
        if seed is not None and not 0 <= seed < 2**32:
            raise DataError(
                f"Preprocessing permutation={seed}: expected a seed from 0 to "
                "2**32 - 1, or None."
            )

    def working_size(self, image_size: int) -> int:
        """Returns the short side of the image before the square is cut."""
        if self.resize == "squash" and self.crop == "none":
            return image_size
        return round(image_size * 8 / 7)

    def unboxed(self) -> "Preprocessing":
        """Returns the preprocessing for a source without bounding boxes.

        The paper's CUBS and Cars are cut to boxes instead of at random;
        without boxes, training crops at random.
        """
        if not self.box:
            return self
        return dataclasses.replace(self, box=False, crop="random")

    def to_facts(self) -> dict[str, Any]:
        """Returns the choices as a JSON-able dictionary, for a manifest."""
        return dataclasses.asdict(self)

    @classmethod
    def from_facts(cls, facts: Mapping[str, Any]) -> "Preprocessing":
        """Returns the preprocessing that `to_facts` described.

        Args:
            facts: Entries of other names are ignored.
        """
        names = {field.name for field in dataclasses.fields(cls)}
        return cls(**{k: v for k, v in facts.items() if k in names})
