"""What a manifest records of a task's data, so that it can be reopened."""

import dataclasses
from typing import Any

from packnet_tf.data.images.preprocessing import PIXEL_FACTS, Preprocessing

# Left out of the JSON if empty.
_OPTIONAL = (
    *("train_from", "validation_from", "test_from"),
    *("image_key", "label_key"),
)


@dataclasses.dataclass(frozen=True)
class DataFacts:
    """Where a task's images came from, and how they became the network's.

    Attributes:
        data: What `open_task` was given, with absolute paths; None for data
            of a Python program.
        kind: `"folder"`, `"npz"`, `"tfds"`, `"bundled"` or `"python"`.
        preprocessing: How its images become the network's.
        train_from: Where the training images are, in one line.
        validation_from: Where the validation images are, if they are separate.
        test_from: Where the test images are.
        image_key: TFDS feature of the image, if the user chose one.
        label_key: TFDS feature of the label, if the user chose one.
        skipped: Images left out because they cannot be read.
        registered: What `TaskEntry.to_json` gives of the entry that the task
            had, or None. A later process may not know it, or know the task
            by another name.
    """

    data: str | None
    kind: str
    preprocessing: Preprocessing
    train_from: str | None = None
    validation_from: str | None = None
    test_from: str | None = None
    image_key: str | None = None
    label_key: str | None = None
    skipped: tuple[str, ...] = ()
    registered: dict[str, Any] | None = None

    def to_json(self) -> dict[str, Any]:
        """Returns the facts as one flat object, for a manifest."""
        given = {name: getattr(self, name) for name in _OPTIONAL}
        return {
            "data": self.data,
            "kind": self.kind,
            "registered": self.registered,
            **{name: value for name, value in given.items() if value},
            **self.preprocessing.to_facts(),
            **PIXEL_FACTS,
            **({"skipped": list(self.skipped)} if self.skipped else {}),
        }
