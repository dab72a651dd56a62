"""What is in a folder: images, folders, and what is neither."""

import collections
import dataclasses
import os
import pathlib
from collections.abc import Sequence

from packnet_tf.data.images import transcode
from packnet_tf.errors import DataError

# How many names or kinds a message shows.
SHOWN = 5


@dataclasses.dataclass
class Listing:
    """What is in a folder, without names that start with a dot.

    Attributes:
        images: Image files, by extension in any case, sorted.
        folders: Folders, sorted.
        links: Links that are not image files.
        others: How many other files there are, by kind.
    """

    images: list[pathlib.Path]
    folders: list[pathlib.Path]
    links: list[pathlib.Path]
    others: collections.Counter[str]

    @classmethod
    def of(cls, folder: pathlib.Path) -> "Listing":
        """Lists a folder."""
        found = cls([], [], [], collections.Counter())
        for entry in sorted(folder.iterdir()):
            if entry.name.startswith("."):
                continue
            if _is_image(entry):
                found.images.append(entry)
                continue
            if entry.is_symlink():
                found.links.append(entry)
            if entry.is_dir():
                found.folders.append(entry)
            else:
                kind = shown(entry.suffix.lower())
                found.others[kind or "without an extension"] += 1
        return found

    def left_out(self, where: pathlib.Path, place: str) -> tuple[str, ...]:
        """Returns lines about everything listed that will not be read.

        Args:
            where: The folder.
            place: Where such images are.

        Returns:
            A line on the files and one on the folders, if there are any.
        """
        kinds, lines = self.others.copy(), []
        if self.images:
            kinds[f"image(s) {place}"] = len(self.images)
        if kinds:
            count, most = kinds.total(), kinds.most_common(SHOWN)
            parts = [f"{number} {kind}" for kind, number in most]
            rest = count - sum(number for _, number in most)
            parts += [f"{rest} of other kinds"] if rest else []
            files = "1 file" if count == 1 else f"{count} files"
            lines.append(
                f"{files} left out of {shown(str(where))}: {', '.join(parts)}"
            )
        if self.folders:
            names = [shown(folder.name) for folder in self.folders]
            lines.append(
                f"the folder(s) {named(names)} left out of {shown(str(where))}"
            )
        return tuple(lines)


def images_below(folder: pathlib.Path) -> list[pathlib.Path]:
    """Returns the image files of a folder at any depth, sorted."""
    listing = Listing.of(folder)
    for link in listing.links:
        check_link(link)
    below = [file for inner in listing.folders for file in images_below(inner)]
    return sorted(listing.images + below)


def check_link(link: pathlib.Path) -> None:
    """Refuses a broken or circular link."""
    if not link.exists():
        raise DataError(
            f"The link {shown(str(link))} is broken; fix or remove it."
        )
    if link.is_dir() and any(link.samefile(p) for p in link.parents):
        raise DataError(
            f"The link {shown(str(link))} points to a folder that contains "
            "it; remove it."
        )


def _is_image(path: pathlib.Path) -> bool:
    if path.suffix[1:].lower() not in transcode.EXTENSIONS:
        return False
    # A broken link is a missing image, which counts as corrupt.
    return path.is_file() or (path.is_symlink() and not path.exists())


def shown(path: str) -> str:
    """Returns a path as text that can be printed anywhere."""
    return os.fsencode(path).decode("utf-8", "backslashreplace")


def named(names: Sequence[str]) -> str:
    """Returns names in quotes, the first few of many."""
    listed = ", ".join(repr(name) for name in names[:SHOWN])
    more = len(names) - SHOWN
    return f"{listed} and {more} more" if more > 0 else listed
