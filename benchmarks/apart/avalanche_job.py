"""The part of `beside_avalanche.py` that runs in an environment of Avalanche.

It knows nothing of packnet_tf: it takes a job and prints figures, as JSON.
"""

import contextlib
import json
import os
import sys
import tempfile
import time

import numpy as np
import torch
from avalanche.benchmarks import (
    benchmark_from_datasets,
    with_classes_timeline,
    with_task_labels,
)
from avalanche.benchmarks.utils import (
    DataAttribute,
    TaskLabels,
    make_avalanche_dataset,
)
from avalanche.benchmarks.utils.flat_data import ConstantSequence
from avalanche.models.packnet import PackNetModel, PackNetPlugin
from avalanche.training.plugins import EvaluationPlugin
from avalanche.training.templates import SupervisedTemplate
from torch import nn
from torch.utils.data import TensorDataset


def network(name: str) -> nn.Module:
    """Returns the plain network of a job, with its classifier."""
    if name == "mlp":
        return nn.Sequential(
            nn.Flatten(),
            nn.Linear(28 * 28, 400),
            nn.ReLU(),
            nn.Linear(400, 400),
            nn.ReLU(),
            nn.Linear(400, 2),
        )
    layers: list[nn.Module] = []
    before = 1
    for width in (16, 32):
        for _ in range(2):
            layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU()]
            before = width
        layers.append(nn.MaxPool2d(2))
    dense = [nn.Flatten(), nn.Linear(7 * 7 * 32, 128), nn.ReLU()]
    return nn.Sequential(*layers, *dense, nn.Linear(128, 2))


class AdamW(torch.optim.AdamW):
    """AdamW as the plugin makes it anew: of all its defaults.

    PyTorch's own refuses one of them, so the plugin of Avalanche 0.6.0 ends in
    an error with it.
    """

    def __init__(self, weights, lr, decoupled_weight_decay=True, **options):
        super().__init__(weights, lr, **options)


def optimizer(name: str, model: nn.Module) -> torch.optim.Optimizer:
    """Returns the optimizer of a job."""
    weights = model.parameters()
    if name == "adamw":
        return AdamW(weights, 1e-3, weight_decay=0.01)
    decay = 5e-4 if name == "sgd, weight decay" else 0.0
    return torch.optim.SGD(weights, 0.05, momentum=0.9, weight_decay=decay)


def dataset(images: np.ndarray, labels: np.ndarray, task: int):
    """Returns images as Avalanche takes them."""
    targets = torch.from_numpy(labels)
    # Channels first, as PyTorch has them.
    pixels = torch.from_numpy(images).movedim(-1, 1).contiguous()
    return make_avalanche_dataset(
        TensorDataset(pixels, targets),
        data_attributes=[
            DataAttribute(targets.tolist(), "targets"),
            TaskLabels(ConstantSequence(task, len(targets))),
        ],
    )


def logits(model: nn.Module, images: np.ndarray, task: int) -> np.ndarray:
    """Returns what a packed network answers for a task."""
    pixels = torch.from_numpy(images).movedim(-1, 1).contiguous()
    labels = torch.full((len(images),), task)
    model.eval()
    with torch.no_grad():
        return model(pixels, labels).numpy().copy()


def trained(job: dict, model: nn.Module, plugins: list, experience) -> float:
    """Trains on one task; returns the CPU seconds."""
    strategy = SupervisedTemplate(
        model=model,
        optimizer=optimizer(job["optimizer"], model),
        criterion=nn.CrossEntropyLoss(),
        train_mb_size=job["batch"],
        train_epochs=job["epochs"],
        plugins=plugins,
        evaluator=EvaluationPlugin(loggers=[]),
    )
    start = time.process_time()
    strategy.train(experience)
    return time.process_time() - start


def run(job: dict) -> dict:
    """Learns all tasks, plain and packed; returns the figures."""
    torch.manual_seed(job["seed"])
    torch.set_num_threads(job["threads"])
    arrays = np.load(job["arrays"])
    tasks = range(job["tasks"])
    data = [
        tuple(
            arrays[f"{name}{task}"]
            for name in ("x_train", "y_train", "x_test", "y_test")
        )
        for task in tasks
    ]
    train = [dataset(x, y, task) for task, (x, y, *_) in enumerate(data)]
    benchmark = with_task_labels(benchmark_from_datasets(train=train))
    stream = with_classes_timeline(benchmark).train_stream
    plain = network(job["network"])
    plain_seconds = sum(trained(job, plain, [], task) for task in stream)
    model = PackNetModel(network(job["network"]))
    seconds, first = 0.0, None
    for task, experience in enumerate(stream):
        # Counts tasks from 0 anew with every strategy.
        plugin = PackNetPlugin(job["retrain_epochs"], job["fractions"][task])
        seconds += trained(job, model, [plugin], experience)
        if first is None:
            first = logits(model, data[0][2], 0)
    last = logits(model, data[0][2], 0)
    scores = [
        float((logits(model, x, task).argmax(1) == y).mean())
        for task, (_, _, x, y) in enumerate(data)
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = os.path.join(folder, "model.pt")
        torch.save(model.state_dict(), file)
        size = os.path.getsize(file)
    return {
        "accuracy": float(np.mean(scores)),
        "plain_seconds": plain_seconds,
        "seconds": seconds,
        "bytes": size,
        "unchanged": bool(first.tobytes() == last.tobytes()),
        "moved": float(np.abs(first - last).max()),
    }


if __name__ == "__main__":
    # Avalanche prints while it trains.
    with contextlib.redirect_stdout(sys.stderr):
        figures = run(json.loads(sys.argv[1]))
    print(json.dumps(figures))
