"""What protection costs: PackNet's training step against plain Keras's.

Run with `python benchmarks/train_step.py`; it prints a table and writes
`benchmarks/train_step.json`. Every ratio is of the two steps run in turn, in
one process, on the same batch; beside it stands the same ratio of plain Keras
against itself, which shows what the machine's noise is. Section "Training
steps" of docs/performance.md explains the rows.
"""

import gc
import json
import os
import pathlib
import re
import sys

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.timing import in_turn, stepper
from benchmarks.trained import (
    NETWORKS,
    OPTIMIZERS,
    batch_of,
    packnet,
    plain,
)

_PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved pairs in each row.")
_STEPS = flags.DEFINE_integer(
    "steps", 0, "Training steps timed together; 0 chooses about a second."
)
_ONLY = flags.DEFINE_string(
    "only", "", "Rows of which this regular expression finds a part."
)
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

# The median may be at most this. The control says how far chance alone goes.
BAR = 1.03
PHASES = ("train", "retrain", "train 3rd", "retrain 3rd")


def measure(network, optimizer, phase, pairs, steps):
    """Returns the ratios of one row."""
    build = NETWORKS[network]
    backbone = build()
    x, y = map(tf.constant, batch_of(network, backbone.input_shape[1:]))
    make = OPTIMIZERS[optimizer]
    runs = {
        "plain": stepper(plain(backbone, make()), x, y),
        "control": stepper(plain(build(), make()), x, y),
        "packnet": stepper(packnet(build(), make(), phase), x, y),
    }
    for run in runs.values():
        run(2)
    steps = steps or max(1, round(0.5 / runs["plain"](2)))
    taken = in_turn(runs, steps, pairs)
    ratios = {
        name: (taken[name] / taken["plain"]).tolist()
        for name in ("control", "packnet")
    }
    return {
        "network": network,
        "optimizer": optimizer,
        "phase": phase,
        "batch": len(x),
        "image_size": x.shape[1],
        "pairs": pairs,
        "steps": steps,
        "plain_seconds": float(np.median(taken["plain"])),
        "ratio": float(np.median(ratios["packnet"])),
        "control": float(np.median(ratios["control"])),
        "control_upper_quartile": float(np.quantile(ratios["control"], 0.75)),
        "ratios": ratios,
    }


def main(_):
    rows = []
    print(
        f"{'row':<28} {'step s':>8} {'control':>8} {'upper q':>8} "
        f"{'packnet':>8}"
    )
    for network in NETWORKS:
        for optimizer in OPTIMIZERS:
            for phase in PHASES:
                name = f"{network} {optimizer} {phase}"
                if not re.search(_ONLY.value, name):
                    continue
                row = measure(
                    network, optimizer, phase, _PAIRS.value, _STEPS.value
                )
                row["held"] = row["ratio"] <= BAR
                rows.append(row)
                print(
                    f"{name:<28} {row['plain_seconds']:>8.4f} "
                    f"{row['control']:>8.3f} "
                    f"{row['control_upper_quartile']:>8.3f} "
                    f"{row['ratio']:>8.3f} "
                    f"{'held' if row['held'] else 'MISSED'}",
                    flush=True,
                )
                keras.backend.clear_session()
                gc.collect()
    pathlib.Path(_JSON.value).write_text(json.dumps(rows, indent=1))
    held = sum(row["held"] for row in rows)
    print(f"{held} of {len(rows)} rows are at most {BAR}")


if __name__ == "__main__":
    app.run(main)
