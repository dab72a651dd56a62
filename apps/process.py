"""Starts and ends an app: a fast start, and errors of one line.

Importing TensorFlow takes seconds, too long for --help or a mistyped flag. So
an app checks its flags with the light parts of `packnet_tf`, and calls `load`
before its work begins.
"""

import contextlib
import importlib.machinery
import importlib.util
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags, logging

# Ctrl-C during the imports ends them silently: nothing has begun.
if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# TensorFlow's log would hide the app's output; set it to 0 to see it.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def _without_init() -> importlib.machinery.ModuleSpec | None:
    """Makes submodules of `packnet_tf` importable without its `__init__`.

    It imports TensorFlow and registers layers, which `packnet_tf.options`
    does not need.

    Returns:
        What `load` has to execute, or None if the package is imported already.
    """
    if "packnet_tf" in sys.modules:
        return None
    spec = importlib.util.find_spec("packnet_tf")
    if spec is None:
        raise ModuleNotFoundError("No module named 'packnet_tf'")
    sys.modules["packnet_tf"] = importlib.util.module_from_spec(spec)
    return spec


_PENDING = [spec for spec in [_without_init()] if spec is not None]

from apps import usage
from packnet_tf.errors import FlagError, PackNetError, first_line


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what native code writes to stderr at any log level."""
    if os.environ["TF_CPP_MIN_LOG_LEVEL"] == "0":
        yield
        return
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)


def load() -> None:
    """Imports TensorFlow and all of `packnet_tf`."""
    caught = [n for n in _SIGNALS if signal.getsignal(n) is _stop_now]
    for number in caught:
        signal.signal(number, signal.SIG_DFL)
    with _quiet():
        import tensorflow as tf

        while _PENDING:
            spec = _PENDING.pop()
            if spec.loader is not None:
                spec.loader.exec_module(sys.modules["packnet_tf"])
    if not flags.FLAGS["verbosity"].present:
        # It warns about retracing, which replicas and tasks need.
        tf.get_logger().setLevel("ERROR")
    for number in caught:
        signal.signal(number, _stop_now)


# What an interrupted app says of its work.
_KEPT = ["what is finished is kept, the last epoch too"]


def _stop_now(number: int, frame: object) -> NoReturn:
    """Ends the process at a signal, with one line.

    It exits at once, as if killed, which harms no file: native code and
    finalizers would swallow an exception.
    """
    # Flushing fails while the program itself is printing.
    with contextlib.suppress(RuntimeError):
        sys.stdout.flush()
    # A terminal shows ^C where the progress bar was, which hid the cursor.
    start = "\n\x1b[?25h" if sys.stderr.isatty() else ""
    line = (
        f"{start}interrupted; {_KEPT[-1]}. Run the same command again to go "
        "on.\n"
    )
    os.write(2, line.encode())
    os._exit(128 + number)


_SIGNALS = (signal.SIGINT, signal.SIGTERM)


def _stop_at_signals() -> None:
    for number in _SIGNALS:
        # Shells make background jobs ignore Ctrl-C.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop_now)


def run(
    main: Callable[[], None],
    *required: str,
    unless: str | None = None,
    kept: str = _KEPT[0],
) -> None:
    """Runs an app, turning its errors into one line and exit code 1.

    As in shells, Ctrl-C exits with code 130 and SIGTERM with 143.

    Args:
        main: The app, without arguments.
        *required: Required flags.
        unless: A flag that makes the others unnecessary.
        kept: What an interruption leaves.
    """
    _KEPT.append(kept)
    # The terminal may be unable to show names of files and classes.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow's warnings do not name the damaged file; later errors do.
    warnings.filterwarnings("ignore", module="PIL")
    _stop_at_signals()

    def parsed(argv):
        try:
            return usage.parse(argv, required, unless)
        except FlagError as error:
            sys.exit(f"error: {error}")

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
        try:
            main()
        except PackNetError as error:
            sys.exit(f"error: {error}")
        except Exception as error:
            if _is_lost_worker(error):
                sys.exit(
                    "error: another worker of this job has ended, or cannot be "
                    "reached any more; look at what it printed. What is "
                    "finished is kept: start all workers again with the same "
                    "command to go on."
                )
            if not _is_out_of_memory(error):
                raise
            sys.exit(
                f"error: out of memory ({first_line(error, 120)}); what is "
                "finished is kept. Run the same command again with fewer "
                "other programs, or start the task again (apps/undo.py) with "
                "a smaller --batch_size."
            )

    app.run(guarded, flags_parser=parsed)


def _is_lost_worker(error: Exception) -> bool:
    tf = sys.modules.get("tensorflow")
    return (
        tf is not None
        and isinstance(
            error, (tf.errors.UnavailableError, tf.errors.AbortedError)
        )
        and "ollective" in str(error)
    )


def _is_out_of_memory(error: Exception) -> bool:
    tf = sys.modules.get("tensorflow")
    return isinstance(error, MemoryError) or (
        tf is not None and isinstance(error, tf.errors.ResourceExhaustedError)
    )
