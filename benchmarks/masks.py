"""What masks take on disk, and what pruning takes, beside their bounds.

  python benchmarks/masks.py

Masks of random owners are coded and decoded, beside their entropy. Then the
134 million weights of VGG-16 with fc6 and fc7 are pruned by half, beside one
`np.partition` of each array by itself, which is the least that ranking can do.
The table is printed, and written to `benchmarks/masks.json`.
"""

import os
import pathlib
import sys
import time
from collections.abc import Callable

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import numpy as np
from absl import app, flags

from benchmarks import verdicts
from benchmarks.memory import memory, peak, reset_peak
from packnet_tf.masks import codec, pruning

_WEIGHTS = flags.DEFINE_integer("weights", 20_000_000, "Weights of a mask.")
_SHRINK = flags.DEFINE_integer("shrink", 1, "Divides VGG-16's widths.")

_FILE = pathlib.Path(__file__).with_suffix(".json")
_TRIES = 3
# Bars: bits over entropy, bytes of mask a second, time over `np.partition`,
# extra memory over the weights'.
_BITS, _RATE, _TIME, _MEMORY = 1.03, 300e6, 3.0, 1.3


def _seconds(work: Callable[[], object]) -> float:
    """Returns the shortest time of a few tries."""
    taken = []
    for _ in range(_TRIES):
        start = time.perf_counter()
        work()
        taken.append(time.perf_counter() - start)
    return min(taken)


def _extra_memory(work: Callable[[], object]) -> int:
    """Returns the bytes that work takes at most beyond what there was."""
    reset_peak()
    before = memory()
    work()
    return peak() - before


def coding(owners: int) -> list[tuple[str, float, float, bool]]:
    """Returns name, figure, bar and whether it is held, of masks in a file."""
    # Three quarters of what each task claims is free again, as in the paper.
    shares = [0.25 * 0.75**n for n in range(owners)]
    shares.insert(0, 1 - sum(shares))
    random = np.random.default_rng(0)
    mask = random.choice(owners + 1, _WEIGHTS.value, p=shares).astype(np.uint8)
    coded = codec.compress(mask)
    entropy = -sum(p * np.log2(p) for p in shares)
    bits = 8 * coded.nbytes / mask.size
    rates = [
        mask.nbytes / _seconds(work)
        for work in (
            lambda: codec.compress(mask),
            lambda: codec.decompress(coded, mask.shape),
        )
    ]
    what = f"mask of {owners} tasks"
    return [
        (
            f"{what}: {bits:.3f} bits a weight over its entropy of "
            f"{entropy:.3f}",
            bits / entropy,
            _BITS,
            bits / entropy <= _BITS,
        ),
        (f"{what}: coded, MB/s", rates[0] / 1e6, _RATE / 1e6, rates[0] > _RATE),
        (
            f"{what}: decoded, MB/s",
            rates[1] / 1e6,
            _RATE / 1e6,
            rates[1] > _RATE,
        ),
    ]


def _kernels() -> list[np.ndarray]:
    """Returns kernels of VGG-16's shapes at 224 px, fc6 and fc7 among them."""
    widths = [3, 64, 64, 128, 128, 256, 256, 256, *[512] * 6]
    small = _SHRINK.value
    shapes = [
        (9 * -(-a // small), -(-b // small))
        for a, b in zip(widths[:-1], widths[1:], strict=True)
    ]
    shapes += [(25_088 // small, 4096 // small), (4096 // small, 4096 // small)]
    random = np.random.default_rng(0)
    return [random.standard_normal(s, np.float32) for s in shapes]


def ranking() -> list[tuple[str, float, float, bool]]:
    """Returns rows like those of `coding`, of pruning by half."""
    kernels = _kernels()
    masks = [np.ones(k.shape, np.uint8) for k in kernels]
    size = sum(k.nbytes for k in kernels)

    def partition() -> None:
        for kernel in kernels:
            np.partition(np.abs(kernel).ravel(), kernel.size // 2)

    least = _seconds(partition)
    rows = []
    for scope in ("layer", "global"):

        def prune(scope: str = scope) -> object:
            return pruning.prune_masks(kernels, masks, 1, 0.5, scope=scope)

        ratio = _seconds(prune) / least
        extra = _extra_memory(prune) / size
        count = f"{size // 4 / 1e6:.0f} M weights, {scope}"
        rows += [
            (f"{count}: time over np.partition", ratio, _TIME, ratio <= _TIME),
            (
                f"{count}: extra memory over the weights'",
                extra,
                _MEMORY,
                extra <= _MEMORY,
            ),
        ]
    return rows


def main(_):
    rows = [row for owners in (2, 4, 10) for row in coding(owners)]
    rows += ranking()
    rows = [(what, float(f), bar, bool(held)) for what, f, bar, held in rows]
    verdicts.write(rows, _FILE)


if __name__ == "__main__":
    app.run(main)
