"""The facts of a machine that decide the bytes of a task's logits.

A packed task's digest is the same everywhere. Its logits have the same bytes
only with the same TensorFlow build, kind of device, instruction set, number
of threads and program, because these change the order of sums. The manifest
of a packed state records them, so that a replay knows whether to expect equal
bytes.
"""

import os
import pathlib
import platform
import re
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.tf_internals.files import deterministic_ops

# Instruction sets that TensorFlow and oneDNN choose their kernels by.
_FLAGS = re.compile(r"(sse|ssse|avx|fma|f16c|amx|neon|asimd|sve|bf16|i8mm).*")
# Settings of TensorFlow, oneDNN and OpenMP that affect that choice.
_SETTINGS = re.compile(
    r"(TF_(ENABLE|NUM|XLA|CUDNN|DISABLE)_|ONEDNN_|DNNL_|OMP_)"
)
# Facts that may differ without changing the bytes.
_HARMLESS = ("python", "numpy")


def machine_facts() -> dict[str, Any]:
    """Returns the facts that decide the bytes of logits, JSON-able.

    Example:

    >>> machine_facts()["devices"]
    ['CPU']
    """
    threads = tf.config.threading
    return {
        "tensorflow": tf.version.VERSION,
        "tensorflow_build": tf.version.GIT_VERSION,
        "keras": keras.__version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "architecture": platform.machine(),
        "processor": _processor()[0],
        "instruction_sets": _processor()[1],
        "devices": _devices(),
        "cpus": _cpus(),
        "intra_op_threads": threads.get_intra_op_parallelism_threads(),
        "inter_op_threads": threads.get_inter_op_parallelism_threads(),
        "deterministic_ops": deterministic_ops(),
        "settings": {
            name: value
            for name, value in sorted(os.environ.items())
            if _SETTINGS.match(name)
        },
    }


def differences(ours: dict[str, Any], theirs: dict[str, Any]) -> list[str]:
    """Returns the names of facts that differ and may change the bytes.

    Args:
        ours: `machine_facts()` here.
        theirs: The facts in a manifest.
    """
    return sorted(
        name
        for name in {*ours, *theirs}
        if name not in _HARMLESS and ours.get(name) != theirs.get(name)
    )


def _processor() -> tuple[str, list[str]]:
    """Returns the processor's name and its instruction sets."""
    name, flags = platform.processor(), ""
    try:
        text = pathlib.Path("/proc/cpuinfo").read_text()
    except OSError:
        return name, []
    for line in text.splitlines():
        key, _, value = line.partition(":")
        key = key.strip()
        if key == "model name":
            name = value.strip()
        elif key in ("flags", "Features"):
            flags = value
    return name, sorted({f for f in flags.split() if _FLAGS.fullmatch(f)})


def _devices() -> list[str]:
    """Returns the kinds of devices, with GPUs by model."""
    found = []
    for device in tf.config.list_physical_devices():
        details = {}
        if device.device_type == "GPU":
            details = tf.config.experimental.get_device_details(device)
        found.append(str(details.get("device_name", device.device_type)))
    return sorted(set(found))


def _cpus() -> int:
    """Returns how many processors this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:
        return os.cpu_count() or 1
