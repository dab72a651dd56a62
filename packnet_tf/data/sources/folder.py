"""Image folders: `PATH/{train,val,test}/CLASS/FILE.jpg`."""

import collections
import itertools
import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from packnet_tf.data import scan_cache
from packnet_tf.data.images import transcode
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.base import names_of_parts
from packnet_tf.data.sources.encoded import EncodedSource
from packnet_tf.data.sources.listing import (
    Listing,
    check_link,
    named,
    shown,
)
from packnet_tf.errors import DataError

_LAYOUT = "PATH/{train,val,test}/CLASS/*.jpg"
_LONGEST = 300


class FolderSource(EncodedSource):
    """Images in one folder per class.

    Args:
        paths: The image files.
        labels: The label of each.
        class_names: Names in the order of the labels.
        preprocessing: How the images become the network's.
        origin: What messages call the folder.
    """

    def __init__(
        self,
        paths: Sequence[pathlib.Path],
        labels: Sequence[int],
        class_names: Sequence[str],
        preprocessing: Preprocessing,
        origin: str = "folder",
    ):
        super().__init__(labels, class_names, preprocessing)
        self.origin = origin
        self._paths = [str(path) for path in paths]
        # Bytes, because a file name need not be text.
        self._path_tensor = tf.constant([os.fsencode(p) for p in self._paths])

    def describe(self, index: int) -> str:
        return shown(self._paths[index])

    def encoded(self, index: int) -> bytes:
        with open(self._paths[index], "rb") as file:
            return file.read()

    def fingerprint(self):
        return scan_cache.fingerprint(self._paths)

    def read_op(self):
        # TensorFlow's own op does not need the GIL.
        paths = self._path_tensor
        return lambda index: tf.io.read_file(tf.gather(paths, index))


def read_folder(
    path: str | pathlib.Path,
    preprocessing: Preprocessing | None = None,
) -> dict[str, FolderSource]:
    """Opens an image folder.

    The index of a class is the place of its folder in sorted order, as in
    `keras.utils.image_dataset_from_directory`. Nested folders are classes
    too, with names such as `dogs/husky`.

    Args:
        path: Folder with `train`, `test` or both, and perhaps `val`
            (or `valid`, or `validation`), each with a folder of images for
            every class.
        preprocessing: How the images become the network's.

    Returns:
        The sources by part, `"train"`, `"validation"` and `"test"`, where
        they exist. Their notes say which files are left out.

    Raises:
        DataError: If the folder or its images are missing or cannot be read,
            a class is empty or the only one, the parts have different
            classes, or a link is broken or circular.
    """
    try:
        return _read(pathlib.Path(path).expanduser(), preprocessing)
    except (OSError, RuntimeError) as error:
        # An unknown user's home, too long a name, no permission.
        reason = getattr(error, "strerror", None) or error
        where = getattr(error, "filename", None) or path
        raise DataError(
            f"The data folder {shown(str(where))[:_LONGEST]} cannot be read: "
            f"{str(reason).rstrip('.')}; expected {_LAYOUT}."
        ) from error


def _read(
    root: pathlib.Path, preprocessing: Preprocessing | None
) -> dict[str, FolderSource]:
    if not root.exists():
        raise DataError(
            f"The data folder {root} does not exist; expected {_LAYOUT}."
        )
    if not root.is_dir():
        raise DataError(
            f"The data {root} is a file; expected a folder {_LAYOUT}, or a "
            "file that ends in .npz."
        )
    top = Listing.of(root)
    parts = names_of_parts([path.name for path in top.folders], str(root))
    if not parts.keys() & {"train", "test"}:
        raise DataError(
            f"The data folder {root} holds neither train nor test; expected "
            f"{_LAYOUT}."
        )
    sources: dict[str, FolderSource] = {}
    for part, name in parts.items():
        source = _read_part(root / name, preprocessing or Preprocessing())
        for other in sources.values():
            _check_same(root, other, source)
        sources[part] = source
    top.folders = [p for p in top.folders if p.name not in parts.values()]
    first = next(iter(sources.values()))
    first.notes = (
        *top.left_out(root, f"beside {' and '.join(parts.values())}"),
        *first.notes,
    )
    return sources


def _read_part(
    folder: pathlib.Path, preprocessing: Preprocessing
) -> FolderSource:
    found, listing = _class_folders(folder)
    source = FolderSource(
        [file for files in found.values() for file in files],
        [label for label, files in enumerate(found.values()) for _ in files],
        list(found),
        preprocessing,
        str(folder),
    )
    source.notes = listing.left_out(folder, "beside the class folders")
    return source


def _class_folders(
    folder: pathlib.Path,
) -> tuple[dict[str, list[pathlib.Path]], Listing]:
    """Returns the image files of each class, both in sorted order.

    The listing has what is in no class.
    """
    listing = Listing.of(folder)
    found = dict(sorted(_classes_in(listing, listing.others).items()))
    listing.folders = []
    names = list(found)
    if not names:
        raise DataError(
            f"The data folder {folder} holds no class folders; expected "
            f"{_LAYOUT}."
        )
    for name in names:
        if shown(name) != name:
            raise DataError(
                f"The class folder {shown(name)!r} of {shown(str(folder))} "
                "has a name that is not UTF-8; rename it."
            )
    if len(names) == 1:
        raise DataError(
            f"The data folder {folder} holds only one class ({names[0]!r}); "
            "a task needs two or more."
        )
    empty = [name for name, files in found.items() if not files]
    if len(empty) == len(names):
        raise DataError(
            f"The data folder {folder} holds no images; expected files "
            f"ending in {', '.join(transcode.EXTENSIONS)} in its class folders."
        )
    if empty:
        raise DataError(
            f"The class folder(s) {named(empty)} of {folder} hold no images "
            f"({', '.join(transcode.EXTENSIONS)}); add some, or remove them."
        )
    return found, listing


def _classes_in(
    listing: Listing, others: collections.Counter[str], above: str = ""
) -> dict[str, list[pathlib.Path]]:
    """Returns the image files of all possible class folders, by name.

    Args:
        listing: The folder that they are in.
        others: Where files of other kinds are counted.
        above: What their names begin with.
    """
    for link in listing.links:
        check_link(link)
    found: dict[str, list[pathlib.Path]] = {}
    for folder in listing.folders:
        name = above + folder.name
        below = Listing.of(folder)
        others.update(below.others)
        files, inner = below.images, _classes_in(below, others, f"{name}/")
        if files:
            found[name] = files
            # An empty folder beside images is not a class.
            inner = {key: images for key, images in inner.items() if images}
        elif not inner:
            found[name] = []
        found.update(inner)
    return found


def _check_same(
    root: pathlib.Path, one: FolderSource, other: FolderSource
) -> None:
    """Refuses two parts with different classes."""
    parts = {
        pathlib.Path(source.origin).name: source for source in (one, other)
    }
    missing = [
        f"{have} has {named(extra)}, which {lack} lacks"
        for have, lack in itertools.permutations(parts)
        if (
            extra := sorted(
                set(parts[have].class_names) - set(parts[lack].class_names)
            )
        )
    ]
    if missing:
        raise DataError(
            f"The data folder {root} has different class folders in "
            f"{' and '.join(parts)}: {'; '.join(missing)}. Make them the same."
        )
