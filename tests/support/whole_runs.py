"""Runs that are compared whole: what they leave, to the byte."""

import json

import numpy as np
import tensorflow as tf

from packnet_tf.storage.workdir import Workdir

FLAGS = (
    "--network=cnn",
    "--network_options=width=4,dropout=0.2",
    "--weights=none",
    "--image_size=16",
    "--augment=randaugment",
    "--train_epochs=2",
    "--retrain_epochs=2",
    "--gradual_epochs=1",
    "--prune_fraction=0.5",
    "--validation_share=0.2",
    "--batch_size=8",
)


def without_times(value):
    """Returns JSON values without what a clock said."""
    if isinstance(value, dict):
        return {
            key: without_times(part)
            for key, part in value.items()
            if key != "seconds"
        }
    if isinstance(value, list):
        return [without_times(part) for part in value]
    return value


def everything(workdir):
    """Returns all that a workdir holds, as values that can be compared."""
    found = {}
    checkpoint = workdir / "training" / "checkpoint.npz"
    if checkpoint.exists():
        with np.load(checkpoint) as arrays:
            for name in arrays:
                found[f"checkpoint {name}"] = arrays[name].tobytes()
        record = json.loads(found.pop("checkpoint record"))
        found["record"] = without_times(record)
        # Of the record with its times.
        del found["checkpoint record_sha256"]
    for state in Workdir(workdir).states():
        name = state.path.name
        found[f"{name} network"] = state.network_path.read_bytes()
        found[f"{name} manifest"] = without_times(
            {
                name: value
                for name, value in json.loads(
                    (state.path / "manifest.json").read_bytes()
                ).items()
                if name != "files"
            }
        )
        with np.load(state.probe_path) as arrays:
            for key in arrays:
                found[f"{name} probe {key}"] = arrays[key].tobytes()
            pixels = arrays["images"]
        folder = workdir / "serving" / "packnet" / str(state.number)
        served = tf.saved_model.load(str(folder))
        for task in state.tasks:
            answer = served.signatures[task.name](images=tf.constant(pixels))
            found[f"{name} served {task.name}"] = (
                answer["logits"].numpy().tobytes()
            )
    return found
