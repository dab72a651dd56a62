"""What can go wrong, by name.

Every error that the package raises on purpose is a `PackNetError`, which is
a `ValueError`: one line that names the thing, what was expected, and what to
do instead. The apps print that line and exit with code 1; anything else is a
defect of the package and keeps its traceback.
"""


class PackNetError(ValueError):
    """The base of all errors that the package raises on purpose."""


class PhaseError(PackNetError):
    """A step that the current phase does not allow."""


class TaskError(PackNetError):
    """A task that is unknown, or a name that cannot be used."""


class CapacityError(PackNetError):
    """No free weights, or no task numbers, are left."""


class ProtectionError(PackNetError):
    """A training setting under which older tasks cannot be kept exact."""


class DivergedError(PackNetError):
    """Training that ended in NaN or infinity."""


class ConversionError(PackNetError):
    """A model or layer that cannot be masked, or not completely."""


class PromiseError(PackNetError):
    """A packed task is no longer what it was when it was packed."""


class DataError(PackNetError):
    """A data set that is missing, broken or unsuitable."""


class NetworkError(PackNetError):
    """A network, its options or its weights that cannot be used."""


class StateError(PackNetError):
    """A workdir or packed state that is damaged, foreign or in use."""


class FlagError(PackNetError):
    """A command line flag with a value that cannot be used."""


def first_line(error: BaseException, length: int = 300) -> str:
    """Returns the first line of an error's message that says something.

    Where a layer cannot be made, Keras prints its whole configuration before
    the reason, and where several cannot be loaded, it counts them first.

    Args:
        error: Any error, mostly one that another library raised.
        length: The most characters; longer lines end in dots.

    Returns:
        That line without the spaces around it, or the name of the error's
        type if it has no message.
    """
    text = str(error).rpartition("Exception encountered:")[2]
    lines = [line for line in map(str.strip, text.splitlines()) if line]
    if len(lines) > 1 and "Example error message for object " in lines[0]:
        del lines[0]
    line = lines[0] if lines else type(error).__name__
    return line if len(line) <= length else f"{line[: length - 3]}..."
