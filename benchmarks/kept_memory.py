"""What a process keeps of SavedModels that it has loaded and dropped.

    python benchmarks/kept_memory.py runs/m/serving/packnet/4

loads it again and again, by `tf.saved_model.load` and by the session loader
that TensorFlow Serving uses, asks its default signature once each time, drops
it, and prints the memory of the process beyond what it had before the first
load, in MB. Each way has a process of its own.
"""

import ctypes
import gc
import os
import pathlib
import subprocess
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from absl import app, flags

_TIMES = flags.DEFINE_integer("times", 6, "Loads.", lower_bound=1)
_HOW = flags.DEFINE_enum(
    "how", None, ["eager", "session"], "One way alone, in this process."
)


def memory() -> float:
    """Returns what the process has of the machine's memory, in MB."""
    # What is free and only kept by the allocator does not count.
    ctypes.CDLL(None).malloc_trim(0)
    pages = int(pathlib.Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def ask_eagerly(path: str) -> None:
    """Loads a SavedModel and asks it once."""
    signature = tf.saved_model.load(path).signatures["serving_default"]
    _, given = signature.structured_input_signature
    signature(
        **{
            name: tf.zeros([1, *spec.shape[1:]], spec.dtype)
            for name, spec in given.items()
        }
    )


def ask_in_session(path: str) -> None:
    """The same by the loader of TensorFlow Serving, in a session."""
    with tf.Graph().as_default(), tf.compat.v1.Session() as session:
        graph = tf.compat.v1.saved_model.load(session, ["serve"], path)
        asked = graph.signature_def["serving_default"]
        given = {
            info.name: tf.make_ndarray(
                tf.compat.v1.make_tensor_proto(
                    0.0,
                    info.dtype,
                    [1, *(d.size for d in info.tensor_shape.dim[1:])],
                )
            )
            for info in asked.inputs.values()
        }
        session.run([o.name for o in asked.outputs.values()], given)


def main(argv: list[str]) -> None:
    (path,) = argv[1:]
    if _HOW.value is None:
        for how in ("eager", "session"):
            subprocess.run(
                [
                    sys.executable,
                    *argv,
                    f"--how={how}",
                    f"--times={_TIMES.value}",
                ],
                check=True,
            )
        return
    ask = ask_eagerly if _HOW.value == "eager" else ask_in_session
    before, kept = memory(), []
    for _ in range(_TIMES.value):
        ask(path)
        gc.collect()
        kept.append(f"{memory() - before:.0f}")
    print(f"{_HOW.value}: {', '.join(kept)} MB", flush=True)


if __name__ == "__main__":
    app.run(main)
