"""Keras's files of a network: what they hold of its tasks, all or nothing."""

import contextlib
import copy
import io
import json
import os
import pathlib
import shutil
import warnings
import zipfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import keras
import numpy as np

from packnet_tf.atomic_files import replaced_file
from packnet_tf.errors import PromiseError, StateError, TaskError
from packnet_tf.model.tasks import TaskBook, take_over
from packnet_tf.task import Task
from packnet_tf.tf_internals.files import (
    drop_legacy_file,
    file_being_loaded,
    is_remote_path,
    may_overwrite,
    writes_legacy_file,
)
from packnet_tf.untrusted.archives import (
    check_model_archive,
    check_weights_file,
)
from packnet_tf.untrusted.members import opened_weights

# Where a file keeps what `book.sealed` stores; earlier versions have none.
SEALED = "architecture"


def write_tasks(book: TaskBook, store: Any, precision: str) -> None:
    """Writes the tasks' records and private variables into a Keras store.

    Args:
        book: The tasks.
        store: The store.
        precision: What packed tasks are rounded to.
    """
    book.bank.save(store, len(book.records), precision)
    records = json.dumps([task.to_dict() for task in book.records])
    store["tasks"] = np.frombuffer(records.encode(), np.uint8)
    if book.packed:
        store[SEALED] = book.sealed.stored()


def read_tasks(book: TaskBook, store: Any) -> None:
    """Reads what `write_tasks` wrote, into the same tasks.

    Raises:
        TaskError: If the file is of other tasks.
        PromiseError: If it holds another packed task of the same name, or
            one of another architecture.
    """
    records = _records(store["tasks"])
    _check_same(book.records, records)
    sealed = store[SEALED] if SEALED in store.keys() else None
    book.sealed.refuse_other([t for t in records if t.packed], sealed)
    book.sealed.take_over(sealed)
    book.note_masks(known=False)  # They are read after this.
    for task, record in zip(book.records, records, strict=True):
        take_over(task, record)
    book.bank.load(store, len(book.records))
    book.weights_missing = False


def check_path(path: Any, **kwargs: Any) -> None:
    """Refuses a form of file that cannot hold several tasks.

    Args:
        path: As in `keras.Model.save`.
        **kwargs: As in `keras.Model.save`.

    Raises:
        StateError: If it is not a `.keras` file.
    """
    form = kwargs.get("save_format") or "keras"
    if not str(path).endswith(".keras") or form != "keras":
        given = "" if form == "keras" else f", save_format={form!r}"
        raise StateError(
            f"save({str(path)!r}{given}): a network is saved as one file that "
            "ends in .keras, because HDF5 and folders do not hold the tasks; "
            "use net.save('NAME.keras'), net.save_weights('NAME.weights.h5'), "
            "or packnet_tf.export_saved_model(net, folder)."
        )


def save_whole(
    save: Callable[[Any, bool], None],
    filepath: Any,
    ending: str,
    overwrite: bool,
) -> None:
    """Lets Keras write a file beside its place, and then puts it there.

    What is no file on a local disk, Keras writes in its own way.

    Args:
        save: Keras's method, which takes a path and `overwrite`.
        filepath: As in `keras.Model.save`.
        ending: What the name of the file has to end in.
        overwrite: As in `keras.Model.save`.

    Raises:
        StateError: If the disk is full or read-only; a file that was there
            before is unchanged.
    """
    path = _local_file(filepath)
    if path is None or not str(filepath).endswith(ending):
        save(filepath, overwrite)
        return
    replaces = path.exists()
    if replaces and not overwrite and not may_overwrite(filepath):
        return
    with replaced_file(path, ending) as aside:
        if replaces:
            # A file that may not be written is not replaced either.
            open(path, "r+b").close()
        if ending == ".keras":
            save(aside, True)
        else:
            # Where the disk is full, HDF5 can end the whole process.
            memory = _Memory(ending)
            save(memory, True)
            aside.write_bytes(memory.getbuffer())
        if replaces:
            shutil.copymode(path, aside)


class _Memory(io.BytesIO):
    """A file in memory with a name, of which Keras asks the ending."""

    def __init__(self, name: str):
        super().__init__()
        self._name = name

    def __str__(self) -> str:
        return self._name


def _local_file(filepath: Any) -> pathlib.Path | None:
    """Returns the file that a path leads to, or None if it is no file."""
    if not isinstance(filepath, str | os.PathLike) or is_remote_path(filepath):
        return None
    path = pathlib.Path(filepath).resolve()
    return path if path.is_file() or not path.exists() else None


def refuse_legacy() -> None:
    """Refuses `keras.saving.save_model` of a network to an HDF5 file.

    Raises:
        StateError: If Keras is writing such a file.
    """
    if writes_legacy_file():
        drop_legacy_file()
        raise StateError(
            "An HDF5 file does not hold the tasks of a network; use "
            "net.save('NAME.keras')."
        )


def refuse_bomb() -> None:
    """Refuses the file that Keras is loading, if its weights would unpack.

    Raises:
        StateError: As `check_model_archive`.
    """
    path = file_being_loaded()
    if path is not None:
        check_model_archive(path)


def compile_arguments(config: Mapping[str, Any] | None) -> Any:
    """Returns the arguments of `compile` that a file holds.

    Args:
        config: What `get_compile_config` returned.

    Returns:
        The arguments by name; None, with a warning, if some are missing.
    """
    found = keras.saving.deserialize_keras_object(config or {})
    if {"optimizer", "loss"} <= found.keys():
        return found
    warnings.warn(
        "The file does not say how the network was compiled; call compile() "
        "before fit() or evaluate().",
        stacklevel=3,
    )
    return None


def check_file(book: TaskBook, file: Any) -> None:
    """Refuses a file of other tasks, before anything is read from it.

    Keras reads all parts of a file, and makes one text of all errors.

    Args:
        book: The tasks.
        file: As in `load_weights`. A file that is cut in pieces is checked as
            it is read.

    Raises:
        TaskError: If the file is of other tasks.
        PromiseError: If it holds another packed task of the same name.
        StateError: If it is damaged, or compressed.
    """
    with contextlib.ExitStack() as stack:
        content: Any = file
        if str(file).endswith(".keras"):
            check_model_archive(pathlib.Path(file))
            archive = stack.enter_context(zipfile.ZipFile(file))
            content = stack.enter_context(opened_weights(archive))
        elif not str(file).endswith("weights.h5"):
            return
        else:
            check_weights_file(pathlib.Path(file))
        held = stack.enter_context(h5py.File(content, "r"))
        if (stored := held.get("vars/tasks")) is None:
            return
        records = _records(stored)
        _check_same(book.records, records)
        packed = [task for task in records if task.packed]
        book.sealed.refuse_other(packed, held.get(f"vars/{SEALED}"))


@contextlib.contextmanager
def all_or_nothing(net: keras.Model, book: TaskBook) -> Iterator[None]:
    """Puts back all that a network holds, if something fails.

    Args:
        net: The network.
        book: Its tasks.
    """
    slots = [] if net.optimizer is None else net.optimizer.variables
    values = [(v, np.array(v)) for v in (*net.variables, *slots)]
    records = [copy.copy(task) for task in book.records]
    private: dict[str, np.ndarray] = {}
    book.bank.save(private, len(records))
    sealed = book.sealed.copy()
    known = book.weights_missing, book.noted_masks
    try:
        yield
    except Exception:
        for variable, value in values:
            variable.assign(value)
        book.bank.load(private, len(records))
        book.sealed.restore(sealed)
        for task, record in zip(book.records, records, strict=True):
            take_over(task, record)
        book.weights_missing, book.noted_masks = known
        if book.active is not None:
            book.enter(book.active)
        raise


def _records(stored: Any) -> list[Task]:
    records: list[Mapping[str, Any]] = json.loads(np.asarray(stored).tobytes())
    return [Task.from_dict(dict(record)) for record in records]


def _check_same(tasks: Sequence[Task], records: Sequence[Task]) -> None:
    """Refuses the records of other tasks than the network has."""
    if [(t.name, t.classes) for t in records] != [
        (t.name, t.classes) for t in tasks
    ]:
        raise TaskError(
            "The file holds the tasks "
            f"[{', '.join(t.name for t in records)}], the network "
            f"[{', '.join(t.name for t in tasks)}]; load the file "
            "with keras.saving.load_model instead."
        )
    other = [
        task.name
        for task, record in zip(tasks, records, strict=True)
        if task.packed and record.digest != task.digest
    ]
    if other:
        raise PromiseError(
            f"The file holds other packed task(s) {', '.join(other)} than "
            "this network, which can never change; load the file with "
            "keras.saving.load_model, as a network of its own."
        )
