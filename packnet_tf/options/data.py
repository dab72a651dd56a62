"""The options of a task's data, and its name in a network."""

import dataclasses

from packnet_tf.options import fields
from packnet_tf.options.fields import DATA, options_of

option = options_of(DATA)

# The prefix of a TFDS dataset's name.
TFDS = "tfds:"

# Datasets split into numbered tasks, with the number of tasks; and MNIST with
# its pixels permuted, for any seed.
NUMBERED = {"split_mnist": 5, "cifar100_superclass": 20}
PERMUTED = "permuted_mnist"

# Whether to crop images to bounding boxes.
CROPS = ("bbox", "none")


@dataclasses.dataclass(frozen=True)
class DataOptions:
    """The location of a task's images, and how to read them."""

    data: str | None = option(
        "The task's images: a folder (PATH/{train,val,test}/CLASS/*.jpg), a "
        ".npz file in Keras's layout, tfds:NAME[/CONFIG][:VERSION] or "
        "bundled:NAME. By default the data set registered under the task's "
        "name; --list_tasks shows them.",
        None,
        basic=True,
    )
    data_dir: str | None = option("Folder of prepared TFDS data sets.", None)
    crop: str | None = option(
        "bbox cuts images to their bounding boxes and squashes them, none does "
        "not; by default as in the paper, for its tasks.",
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
        basic=True,
    )

    def __post_init__(self) -> None:
        fields.check(self)


def task_name(name: str) -> str:
    """Returns a task's name in a network.

    Args:
        name: A task's name; a numbered task may have a slash, as in
            `"split_mnist/0"`. Or `"tfds:NAME[/CONFIG][:VERSION]"`.

    Returns:
        The name; for numbered tasks and TFDS datasets with dots instead of
        slashes and colons, and without `tfds:`.
    """
    if name.startswith(TFDS):
        return name.removeprefix(TFDS).replace("/", ".").replace(":", ".")
    head, slash, number = name.partition("/")
    if slash and head in (*NUMBERED, PERMUTED):
        return f"{head}.{number}"
    return name
