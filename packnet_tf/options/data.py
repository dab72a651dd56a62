"""Where a task's data is, and the name under which a network knows it."""

import dataclasses

from packnet_tf.options import fields
from packnet_tf.options.fields import option

# What a data set of TFDS begins with, where it is named in full.
TFDS = "tfds:"

# Tasks that are parts of a data set, by the name before the slash, and how
# many there are; and MNIST with its pixels in another order, for any seed.
NUMBERED = {"split_mnist": 5, "cifar100_superclass": 20}
PERMUTED = "permuted_mnist"

# Cutting to bounding boxes is asked for, or refused.
CROPS = ("bbox", "none")


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """Where a task's images are, and how they are read."""

    data: str | None = option(
        "The task's images: a folder (PATH/{train,test}/CLASS/*.jpg), a .npz "
        "file in Keras's layout, tfds:NAME[/CONFIG][:VERSION] or "
        "bundled:NAME. By default the data set that is registered under the "
        "task's name; --list_tasks shows them.",
        None,
    )
    data_dir: str | None = option("Folder of prepared TFDS data sets.", None)
    crop: str | None = option(
        "bbox cuts images to their bounding boxes and squashes them, none does "
        "not; by default as the paper does with the task.",
        None,
        choices=CROPS,
    )
    image_key: str | None = option(
        "TFDS feature of the image; by default image.", None
    )
    label_key: str | None = option(
        "TFDS feature of the label; by default label.", None
    )
    skip_corrupt: bool = option(
        "Leave out and list images that cannot be read, instead of stopping.",
        False,
    )

    def __post_init__(self) -> None:
        fields.check(self)


def task_name(name: str) -> str:
    """Returns the name under which a network knows a task.

    Args:
        name: A task's name; that of a numbered task may have a slash, as in
            `"split_mnist/0"`. Or `"tfds:NAME[/CONFIG][:VERSION]"`.

    Returns:
        The same name, or that of a numbered task with a dot for the slash.
        A data set of TFDS is known without `tfds:`, with dots.
    """
    if name.startswith(TFDS):
        return name.removeprefix(TFDS).replace("/", ".").replace(":", ".")
    head, slash, number = name.partition("/")
    if slash and head in (*NUMBERED, PERMUTED):
        return f"{head}.{number}"
    return name
