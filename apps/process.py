"""How an app starts and ends: quietly, and in one line if not well."""

import contextlib
import io
import os
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from typing import NoReturn

from absl import app, flags, logging

# Ctrl-C during the imports ends them in silence: nothing has begun.
_HANDLER = signal.getsignal(signal.SIGINT)
if _HANDLER is signal.default_int_handler:
    signal.signal(signal.SIGINT, signal.SIG_DFL)

# TensorFlow's own remarks hide what the apps say; set it to 0 to see them.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Drops what native code writes to stderr, whatever its log level."""
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


with _quiet():
    import tensorflow as tf

from packnet_tf.errors import FlagError, PackNetError, first_line

if _HANDLER is signal.default_int_handler:
    signal.signal(signal.SIGINT, _HANDLER)


def _stop_now(number: int, frame: object) -> NoReturn:
    """Ends the process with a line, at a signal.

    At once, as if it were killed, which no file suffers from: an exception
    would come up wherever the program is just then, and native code and
    finalizers drop it.
    """
    # Not while the program is printing itself.
    with contextlib.suppress(RuntimeError):
        sys.stdout.flush()
    # A terminal shows ^C where the progress bar was, which hid the cursor.
    start = "\n\x1b[?25h" if sys.stderr.isatty() else ""
    line = (
        f"{start}interrupted; what is finished is kept, the last epoch too. "
        "Run the same command again to go on.\n"
    )
    os.write(2, line.encode())
    os._exit(128 + number)


def _stop_at_signals() -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        # A shell has its background jobs ignore Ctrl-C.
        if signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, _stop_now)


def run(
    main: Callable[[], None], *required: str, unless: str | None = None
) -> None:
    """Runs an app: its errors are one line, and exit with code 1.

    Ctrl-C exits with code 130, and SIGTERM with 143, as shells have it.

    Args:
        main: The app, without arguments.
        *required: Flags that have to be given.
        unless: A flag with which nothing else is needed.
    """
    # Names of files and classes need not be text that a terminal can show.
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")
    # Pillow's remarks on damaged files name none; what is bad is named later.
    warnings.filterwarnings("ignore", module="PIL")
    _stop_at_signals()
    for name in required:
        flags.register_multi_flags_validator(
            [name, unless] if unless else [name],
            lambda values, name=name: (
                values[name] is not None or bool(values.get(unless))
            ),
            message=f"Flag --{name} must have a value other than None.",
        )

    def guarded(argv):
        if not flags.FLAGS["verbosity"].present:
            logging.set_verbosity(logging.WARNING)
            # Its warnings are of functions that are traced again, which
            # replicas and tasks of their own need.
            tf.get_logger().setLevel("ERROR")
        try:
            if len(argv) > 1:
                raise FlagError(
                    f"Unexpected argument {argv[1]!r}; every option is a flag "
                    "of the form --name=value."
                )
            main()
        except PackNetError as error:
            sys.exit(f"error: {error}")
        except (MemoryError, tf.errors.ResourceExhaustedError) as error:
            sys.exit(
                f"error: out of memory ({first_line(error)[:120]}); what is "
                "finished is kept. Run the same command again with fewer "
                "other programs, or begin the task anew (apps/undo.py) with "
                "a smaller --batch_size."
            )

    app.run(guarded)
