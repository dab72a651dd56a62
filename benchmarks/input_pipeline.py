"""Images a second of the input pipeline, beside the plain limit.

Run with `python benchmarks/input_pipeline.py --data=PATH`, PATH being an
image folder. The limit is decoding and resizing alone, as fast as `tf.data`
does it with all cores: the same decoder, and the same resizing to the same
size, in a stock pipeline of read, decode, resize and batch, with as many
images at a time as there are cores, as ours asks for, and as `tf.data` finds
best; the limit is the fastest of the three. Ours is what
training iterates over: shuffled, cropped, mirrored batches of float32. Before
it the images are checked, as the apps do once for a set of files, which also
finds their digests; that is timed by itself. The first epoch reads, decodes
and resizes; the second comes from memory. Nothing is trained. All are run in
turn in one process, and compared within a round, since a busy machine changes
all of them together. The rates of processor time, which other programs change
least, are printed beside those of the clock. The clock stops when the last
batch is there: what ending an iterator takes is not counted.
"""

import json
import os
import pathlib
import shutil
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import tensorflow as tf
from absl import app, flags

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from packnet_tf.data import open_task, training
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.integrity import find_bad
from packnet_tf.data.sources.base import PARALLEL

_DATA = flags.DEFINE_string("data", None, "The image folder.", required=True)
_TASK = flags.DEFINE_string(
    "task", "cars", "Whose preprocessing to use, if registered."
)
_SIZE = flags.DEFINE_integer("image_size", 96, "Height and width in pixels.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images of a batch.")
_ROUNDS = flags.DEFINE_integer("rounds", 31, "Rounds of all of them.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

# What the pipeline is meant to reach, as shares of the limit.
FIRST, SECOND = 0.9, 5.0

# Images decoded at a time by the plain pipelines, of which the fastest is the
# limit.
LIMITS = {
    "limit, cores": os.cpu_count(),
    "limit, as ours": PARALLEL,
    "limit, autotuned": tf.data.AUTOTUNE,
}


def limit(source, preprocessing, parallel):
    """Returns a data set that does nothing but decode and resize."""
    size = preprocessing.working_size(_SIZE.value)

    def load(path):
        image = tf.io.decode_jpeg(
            tf.io.read_file(path), channels=3, dct_method="INTEGER_ACCURATE"
        )
        return tf.image.resize(image, [size, size], antialias=True)

    paths = [source.describe(index) for index in range(len(source))]
    return (
        tf.data.Dataset.from_tensor_slices(paths)
        .map(load, num_parallel_calls=parallel)
        .batch(_BATCH.value)
        .prefetch(2)
    )


def rates(count: int, run) -> tuple[float, float]:
    """Returns images a second of the clock and of processor time."""
    start, used = time.perf_counter(), time.process_time()
    # Held until the clock has stopped.
    iterator = iter(run())
    for _ in iterator:
        pass
    return (
        count / (time.perf_counter() - start),
        count / (time.process_time() - used),
    )


def measure() -> dict[str, tuple[float, float]]:
    """Returns the rates of the check, the plain pipelines and two epochs."""
    source = open_task(_TASK.value, _DATA.value).train
    count, preprocessing = len(source), source.preprocessing
    if preprocessing.resize != "squash":
        # Squashed images all have one size, which a plain batch needs.
        preprocessing = Preprocessing("squash", preprocessing.crop)
    found = {"check": rates(count, lambda: find_bad(source))}
    for name, parallel in LIMITS.items():
        found[name] = rates(
            count, lambda p=parallel: limit(source, preprocessing, p)
        )
    ours = training(
        source, _SIZE.value, _BATCH.value, preprocessing=preprocessing
    )
    found["first"] = rates(count, lambda: ours.epoch(0))
    found["second"] = rates(count, lambda: ours.epoch(1))
    return found


def line(found) -> str:
    """Returns a round's rates as text."""
    whole = max(found[name][0] for name in LIMITS)
    return "; ".join(
        f"{name} {rate:,.0f} ({rate / whole:.2f})"
        for name, (rate, _) in found.items()
    )


def main(argv) -> None:
    del argv
    # What is remembered of the images would make the check free.
    with tempfile.TemporaryDirectory() as cache:
        os.environ["XDG_CACHE_HOME"] = cache
        rounds = []
        for number in range(_ROUNDS.value + 1):
            found = measure()
            shutil.rmtree(cache)
            if number:  # The first traces, and reads cold files.
                rounds.append(found)
                print(f"round {number}: {line(found)}", flush=True)
    medians = {
        name: [statistics.median(r[name][i] for r in rounds) for i in (0, 1)]
        for name in rounds[0]
    }
    # Not the fastest of each round, which chance would choose.
    best = max(LIMITS, key=lambda name: medians[name][0])
    ratios = {
        name: [
            statistics.median(r[name][i] / r[best][i] for r in rounds)
            for i in (0, 1)
        ]
        for name in ("check", "first", "second")
    }
    print(
        f"{_TASK.value} at {_SIZE.value} px, batches of {_BATCH.value}, "
        f"{os.cpu_count()} cores; medians of {len(rounds)} rounds; of "
        "processor time in brackets"
    )
    for name in LIMITS:
        print(
            f"  {name}: {medians[name][0]:,.0f} ({medians[name][1]:,.0f}) "
            f"images/s{' <- the limit' if name == best else ''}"
        )
    for name, least in (("check", None), ("first", FIRST), ("second", SECOND)):
        share, busy = ratios[name]
        bar = ""
        if least is not None:
            reached = "reached" if share >= least else "missed"
            bar = f"; {least:g} {reached}"
        print(
            f"  {name}: {medians[name][0]:,.0f} ({medians[name][1]:,.0f}) "
            f"images/s, {share:.2f} ({busy:.2f}) of the limit{bar}"
        )
    facts = {
        "task": _TASK.value,
        "image_size": _SIZE.value,
        "batch_size": _BATCH.value,
        "cores": os.cpu_count(),
        "limit": best,
        "images_per_second": medians,
        "ratios": ratios,
        "rounds": rounds,
    }
    pathlib.Path(_JSON.value).write_text(json.dumps(facts, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
