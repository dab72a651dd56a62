"""Image folders: `PATH/{train,test}/CLASS/FILE.jpg`."""

import os
import pathlib
from collections.abc import Sequence

import tensorflow as tf

from packnet_tf.data import scan_cache
from packnet_tf.data.images import transcode
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.encoded import EncodedSource
from packnet_tf.errors import DataError

PARTS = ("train", "test")
_LAYOUT = "PATH/{train,test}/CLASS/*.jpg"
_SHOWN = 5
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
        return _shown(self._paths[index])

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
        path: Folder with `train`, `test` or both, each with a folder of
            images for every class.
        preprocessing: How the images become the network's.

    Returns:
        The sources by part, `"train"` and `"test"`, where they exist.

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
            f"The data folder {_shown(str(where))[:_LONGEST]} cannot be read: "
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
    parts = {p: root / p for p in PARTS if (root / p).is_dir()}
    if not parts:
        raise DataError(
            f"The data folder {root} holds neither train nor test; expected "
            f"{_LAYOUT}."
        )
    classes = {part: _class_folders(folder) for part, folder in parts.items()}
    if len(classes) == 2:
        _check_same(root, *(list(classes[part]) for part in PARTS))
    return {
        part: FolderSource(
            [file for files in found.values() for file in files],
            [
                label
                for label, files in enumerate(found.values())
                for _ in files
            ],
            list(found),
            preprocessing or Preprocessing(),
            str(parts[part]),
        )
        for part, found in classes.items()
    }


def _class_folders(folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Returns the image files of each class, both in sorted order."""
    found = dict(sorted(_folders_below(folder).items()))
    names = list(found)
    if not names:
        raise DataError(
            f"The data folder {folder} holds no class folders; expected "
            f"{_LAYOUT}."
        )
    for name in names:
        if _shown(name) != name:
            raise DataError(
                f"The class folder {_shown(name)!r} of {_shown(str(folder))} "
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
            f"The class folder(s) {_named(empty)} of {folder} hold no images "
            f"({', '.join(transcode.EXTENSIONS)}); add some, or remove them."
        )
    return found


def _folders_below(
    folder: pathlib.Path, above: str = ""
) -> dict[str, list[pathlib.Path]]:
    """Returns the image files of all possible class folders, by name."""
    found: dict[str, list[pathlib.Path]] = {}
    for entry in folder.iterdir():
        if entry.name.startswith("."):
            continue
        if entry.is_symlink():
            _check_link(entry)
        if not entry.is_dir():
            continue
        name = above + entry.name
        files, inner = image_files(entry), _folders_below(entry, f"{name}/")
        if files:
            found[name] = files
            # An empty folder beside images is not a class.
            inner = {key: images for key, images in inner.items() if images}
        elif not inner:
            found[name] = []
        found.update(inner)
    return found


def _check_link(link: pathlib.Path) -> None:
    """Refuses a broken or circular link."""
    if not link.exists():
        # A broken link to an image counts as a corrupt image.
        if not _is_image_name(link):
            raise DataError(
                f"The link {_shown(str(link))} is broken; fix or remove it."
            )
    elif link.is_dir() and any(link.samefile(p) for p in link.parents):
        raise DataError(
            f"The link {_shown(str(link))} points to a folder that contains "
            "it; remove it."
        )


def image_files(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns a folder's image files, by extension in any case, sorted."""
    return sorted(
        entry
        for entry in folder.iterdir()
        if _is_image_name(entry)
        # A broken link is a missing image.
        and (entry.is_file() or (entry.is_symlink() and not entry.exists()))
    )


def _is_image_name(path: pathlib.Path) -> bool:
    return not path.name.startswith(".") and (
        path.suffix[1:].lower() in transcode.EXTENSIONS
    )


def _check_same(
    root: pathlib.Path, train: Sequence[str], test: Sequence[str]
) -> None:
    missing = [
        f"{have} has {_named(extra)}, which {lack} lacks"
        for have, lack, extra in (
            ("train", "test", sorted(set(train) - set(test))),
            ("test", "train", sorted(set(test) - set(train))),
        )
        if extra
    ]
    if missing:
        raise DataError(
            f"The data folder {root} has different class folders in train "
            f"and test: {'; '.join(missing)}. Make them the same."
        )


def _shown(path: str) -> str:
    """Returns a path as text that can be printed anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def _named(names: Sequence[str]) -> str:
    shown = ", ".join(repr(name) for name in names[:_SHOWN])
    more = len(names) - _SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
