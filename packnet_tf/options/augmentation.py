"""The choice of RandAugment, MixUp and CutMix.

They are implemented in `packnet_tf/data/images`.
"""

import dataclasses
import math
from typing import Any

from packnet_tf.errors import DataError

# The smallest alpha but 0: even then nearly all shares are 0 or 1, and below it
# drawing one takes ever more numbers, since u ** (1 / alpha) becomes 0.
_LEAST_ALPHA = 0.01

# Name, usual setting, largest setting: the magnitude of RandAugment, and
# alpha of the Beta(alpha, alpha) that shares are drawn from.
MAX_MAGNITUDE = 10.0
_CHOICES = {
    "randaugment": (9.0, MAX_MAGNITUDE),
    "mixup": (0.2, 2.0),
    "cutmix": (1.0, 2.0),
}
_EXPECTED = "randaugment[:0..10], mixup[:0..2] or cutmix[:0..2]"


@dataclasses.dataclass(frozen=True)
class Augmentation:
    """The augmentation of training images beyond crops and flips.

    Attributes:
        randaugment: Magnitude of RandAugment's two operations, up to 10; 0
            for none.
        mixup: alpha of MixUp (Zhang et al. 2018), 0.01 to 2; 0 for none.
        cutmix: alpha of CutMix (Yun et al. 2019), 0.01 to 2; 0 for none. With
            both, every image draws one of the two.

    Example:

    >>> Augmentation.parse("randaugment:5,mixup")
    Augmentation(randaugment=5.0, mixup=0.2, cutmix=0.0)
    """

    randaugment: float = 0.0
    mixup: float = 0.0
    cutmix: float = 0.0

    def __post_init__(self) -> None:
        for name, (_, most) in _CHOICES.items():
            value = getattr(self, name)
            if not 0 <= value <= most:
                raise DataError(
                    f"Augmentation {name}:{value:g}: expected 0 to {most:g}."
                )
            if name != "randaugment" and 0 < value < _LEAST_ALPHA:
                raise DataError(
                    f"Augmentation {name}:{value:g}: expected "
                    f"{_LEAST_ALPHA:g} to {most:g}, or 0 for none."
                )

    @property
    def soft(self) -> bool:
        """Whether labels are shares of the classes instead of numbers."""
        return bool(self.mixup or self.cutmix)

    @classmethod
    def parse(cls, text: str) -> "Augmentation":
        """Reads choices such as `"randaugment:9,mixup:0.2,cutmix"`.

        Args:
            text: Names with or without a setting, separated by commas; empty
                for none.

        Raises:
            DataError: Naming the part that is invalid.
        """
        found: dict[str, float] = {}
        for part in filter(None, (p.strip() for p in text.split(","))):
            name, colon, setting = part.partition(":")
            if name not in _CHOICES or name in found:
                raise DataError(
                    f"Augmentation {part!r}: expected {_EXPECTED}, each once."
                )
            try:
                found[name] = float(setting) if colon else _CHOICES[name][0]
            except ValueError:
                found[name] = math.nan
            if math.isnan(found[name]):
                raise DataError(f"Augmentation {part!r}: expected {_EXPECTED}.")
        return cls(**found)

    def to_facts(self) -> dict[str, Any]:
        """Returns the choices as a JSON-able dictionary, for a manifest."""
        return dataclasses.asdict(self)
