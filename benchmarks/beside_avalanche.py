r"""The same small jobs in packnet_tf and in Avalanche, beside plain training.

Avalanche, PyTorch's library for continual learning, has a PackNet as well. It
lives in an environment of its own:

  python3 -m venv build/avalanche
  build/avalanche/bin/pip install torch torchvision avalanche-lib==0.6.0
  python benchmarks/beside_avalanche.py --shared=PATH \
      --avalanche=build/avalanche/bin/python

Five tasks of two classes each: digits by an MLP, clothes by a small VGG without
normalization, which Avalanche's PackNet refuses. Same images, sizes, batches,
epochs, rates and shares to prune (equal shares); the kernels start from the
random values that each framework draws. It prints a table and writes
`benchmarks/beside_avalanche.json`: test accuracy, CPU seconds of training
beside those of the same network without PackNet (Avalanche's loop without a
plugin, `keras.Model.fit`), bytes on disk, and whether the first task's logits
are in the end what they were when it was packed.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
from absl import app, flags

import packnet_tf as pn
from packnet_tf import console

_SHARED = flags.DEFINE_string("shared", None, "Folder with data/*.npz.")
_AVALANCHE = flags.DEFINE_string(
    "avalanche", None, "Python of its environment; without it, ours alone."
)
_SEEDS = flags.DEFINE_list("seeds", ["0", "1", "2"], "Seeds.")
_ONE = flags.DEFINE_string(
    "one", None, "Runs this job (JSON), in this process."
)
_SMOKE = flags.DEFINE_bool("smoke", False, "Short; the figures mean nothing.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

_TASKS = 5
_NETWORKS = {"mlp": "mnist", "vgg": "fashion_mnist"}
_OPTIMIZERS = ("sgd", "sgd, weight decay", "adamw")
# Of what is free: equal shares, so that the last task takes the rest.
_FRACTIONS = [1 - 1 / (_TASKS - task) for task in range(_TASKS)]
_EPOCHS, _RETRAIN = 4, 1
# Not imported here: it needs PyTorch.
_APART = "apart/avalanche_job.py"


def backbone(name: str) -> keras.Sequential:
    """Returns a job's network without its classifier."""
    layers = keras.layers
    net = keras.Sequential([keras.Input((28, 28, 1))])
    if name == "mlp":
        net.add(layers.Flatten())
        net.add(layers.Dense(400, "relu"))
        net.add(layers.Dense(400, "relu"))
        return net
    for width in (16, 32):
        for _ in range(2):
            net.add(layers.Conv2D(width, 3, padding="same", activation="relu"))
        net.add(layers.MaxPooling2D())
    net.add(layers.Flatten())
    net.add(layers.Dense(128, "relu"))
    return net


def optimizer(name: str) -> keras.Optimizer:
    """Returns the optimizer of a job."""
    if name == "adamw":
        return keras.optimizers.AdamW(1e-3, weight_decay=0.01)
    decay = 5e-4 if name == "sgd, weight decay" else None
    return keras.optimizers.SGD(0.05, momentum=0.9, weight_decay=decay)


def run(job: dict) -> dict:
    """Learns all tasks, plain and packed; returns the figures."""
    keras.utils.set_random_seed(job["seed"])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    arrays = np.load(job["arrays"])
    tasks = range(job["tasks"])
    train = [(arrays[f"x_train{t}"], arrays[f"y_train{t}"]) for t in tasks]
    test = [(arrays[f"x_test{t}"], arrays[f"y_test{t}"]) for t in tasks]

    def fit(model, task, epochs):
        begin = time.process_time()
        x, y = train[task]
        model.fit(x, y, batch_size=job["batch"], epochs=epochs, verbose=0)
        return time.process_time() - begin

    plain = keras.Sequential([backbone(job["network"]), keras.layers.Dense(2)])
    plain_seconds = 0.0
    for task in tasks:
        plain.compile(optimizer(job["optimizer"]), loss)
        plain_seconds += fit(plain, task, job["epochs"])
    net = pn.PackNet(backbone(job["network"]))
    seconds, first = 0.0, None
    for task in tasks:
        start = time.process_time()
        # Avalanche's tasks read all older ones, too.
        net.add_task(f"task{task}", classes=2, reads="all")
        net.compile(
            optimizer(job["optimizer"]), "sparse_categorical_crossentropy"
        )
        fit(net, task, job["epochs"] - job["retrain_epochs"])
        if job["fractions"][task]:
            net.prune(job["fractions"][task])
        fit(net, task, job["retrain_epochs"])
        net.pack()
        seconds += time.process_time() - start
        if first is None:
            first = np.asarray(net.logits(test[0][0]))
    net.activate("task0")
    last = np.asarray(net.logits(test[0][0]))
    scores = []
    for task, (x, y) in enumerate(test):
        net.activate(f"task{task}")
        scores.append(float((np.asarray(net.logits(x)).argmax(1) == y).mean()))
    with tempfile.TemporaryDirectory() as folder:
        file = pathlib.Path(folder) / "net.keras"
        net.save(file)
        size = file.stat().st_size
    return {
        "accuracy": float(np.mean(scores)),
        "plain_seconds": plain_seconds,
        "seconds": seconds,
        "bytes": size,
        "unchanged": first.tobytes() == last.tobytes(),
        "moved": float(np.abs(first - last).max()),
    }


def arrays_of(name: str, file: pathlib.Path, few: int | None) -> None:
    """Writes the images of all tasks, two classes each, as both sides read."""
    data = np.load(f"{_SHARED.value}/data/{name}.npz")
    found = {}
    for part in ("train", "test"):
        images, labels = data[f"x_{part}"], data[f"y_{part}"].reshape(-1)
        for task in range(_TASKS):
            rows = np.flatnonzero(labels // 2 == task)[:few]
            pixels = images[rows].reshape(-1, 28, 28, 1)
            found[f"x_{part}{task}"] = np.float32(pixels) / 127.5 - 1
            found[f"y_{part}{task}"] = np.int64(labels[rows] % 2)
    np.savez(file, **found)


def figures(python: str, program: str, job: dict) -> dict:
    """Returns the figures of one job, from a process of its own."""
    text = json.dumps(job)
    path = pathlib.Path(__file__).parent / program
    given = [text] if program == _APART else [f"--one={text}"]
    done = subprocess.run(
        [python, str(path), *given], capture_output=True, text=True
    )
    if done.returncode:
        raise SystemExit(f"{program}: {done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def measure(folder: pathlib.Path) -> list[dict]:
    """Runs all jobs in both frameworks."""
    sides = {"packnet_tf": (sys.executable, pathlib.Path(__file__).name)}
    if _AVALANCHE.value:
        sides["avalanche"] = (_AVALANCHE.value, _APART)
    lines = []
    for network, data in _NETWORKS.items():
        arrays = folder / f"{data}.npz"
        arrays_of(data, arrays, 64 if _SMOKE.value else None)
        for name in _OPTIMIZERS:
            for seed in map(int, _SEEDS.value):
                job = {
                    "network": network,
                    "optimizer": name,
                    "seed": seed,
                    "arrays": str(arrays),
                    "tasks": _TASKS,
                    "fractions": _FRACTIONS,
                    "batch": 128,
                    "epochs": 2 if _SMOKE.value else _EPOCHS,
                    "retrain_epochs": _RETRAIN,
                    "threads": len(os.sched_getaffinity(0)),
                }
                for side, (python, program) in sides.items():
                    line = {
                        "framework": side,
                        "network": network,
                        "optimizer": name,
                        "seed": seed,
                        **figures(python, program, job),
                    }
                    print(json.dumps(line), flush=True)
                    lines.append(line)
    return lines


def table(lines: list[dict]) -> str:
    """Returns a row for each job and framework: means over the seeds."""
    rows = []
    kinds = dict.fromkeys(
        (line["network"], line["optimizer"], line["framework"])
        for line in lines
    )
    for kind in kinds:
        some = [
            line
            for line in lines
            if (line["network"], line["optimizer"], line["framework"]) == kind
        ]

        def mean(name, some=some):
            return float(np.mean([line[name] for line in some]))

        kept = all(line["unchanged"] for line in some)
        moved = max(line["moved"] for line in some)
        rows.append(
            [
                *kind,
                len(some),
                f"{mean('accuracy'):.4f}",
                f"{mean('seconds'):.1f}",
                f"{mean('seconds') / mean('plain_seconds'):.2f}",
                f"{mean('bytes') / 1e6:.2f}",
                "the same bytes" if kept else f"moved by up to {moved:.3g}",
            ]
        )
    head = [
        "network",
        "optimizer",
        "framework",
        "seeds",
        "accuracy",
        "CPU s",
        "over plain",
        "MB",
        "first task's logits",
    ]
    return console.table(head, rows)


def main(_):
    if _ONE.value:
        print(json.dumps(run(json.loads(_ONE.value))))
        return
    with tempfile.TemporaryDirectory() as folder:
        lines = measure(pathlib.Path(folder))
    pathlib.Path(_JSON.value).write_text(json.dumps(lines, indent=1) + "\n")
    print(table(lines))


if __name__ == "__main__":
    app.run(main)
