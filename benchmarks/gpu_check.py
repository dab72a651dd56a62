"""The promise and its price on a GPU, in under eight minutes.

  python benchmarks/gpu_check.py
  python benchmarks/gpu_check.py --smoke

The first needs a GPU and nothing but this package: all images are made up. It
prints what it finds and writes it to `benchmarks/gpu_check.json`; the second
does the same with tiny networks on any machine, to see that it runs.

1. Three tasks are packed; in each later state, and in the SavedModel, the
   first one's logits must have the same bytes, in float32 and in
   mixed_bfloat16: with XLA in training, without it, and with deterministic
   operations, where Keras uses no XLA.
2. A training step beside plain Keras's, and plain Keras beside itself.
3. A SavedModel of four tasks beside a plain one: latency, peak memory.
4. The input pipeline's images a second beside what a step can take.
"""

import gc
import json
import os
import pathlib
import statistics
import sys
import tempfile
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags

from benchmarks.timing import Run, caller, in_turn, stepper
from packnet_tf.data import open_task, training
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.serving import LAYOUTS
from packnet_tf.serving.formats import save_plain
from packnet_tf.serving.saved_model import export_saved_model

_SMOKE = flags.DEFINE_bool("smoke", False, "Tiny networks, on any device.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

_CLASSES = 30
_POLICIES = ("float32", "mixed_bfloat16")


def _device() -> str:
    """Returns the name of the device that operations run on."""
    gpus = tf.config.list_physical_devices("GPU")
    return "GPU:0" if gpus else "CPU:0"


def _peak() -> int | None:
    """Returns the most bytes of the GPU in use since the last call."""
    if _device() != "GPU:0":
        return None
    peak = tf.config.experimental.get_memory_info("GPU:0")["peak"]
    tf.config.experimental.reset_memory_stats("GPU:0")
    return peak


def _backbone(network: str) -> keras.Model:
    size = 32 if _SMOKE.value else 224
    shape = (size, size, 3)
    if network == "resnet50":
        base = keras.applications.ResNet50(
            include_top=False, weights=None, input_shape=shape
        )
    else:
        base = keras.applications.MobileNet(
            alpha=0.25 if _SMOKE.value else 0.75,
            include_top=False,
            weights=None,
            input_shape=shape,
        )
    pooled = keras.layers.GlobalAveragePooling2D()(base.output)
    return keras.Model(base.input, pooled)


def _images(batch: int) -> tuple[tf.Tensor, tf.Tensor]:
    random = np.random.default_rng(0)
    size = 32 if _SMOKE.value else 224
    pixels = random.uniform(0, 255, (batch, size, size, 3))
    labels = random.integers(0, _CLASSES, batch)
    return tf.constant(pixels, tf.float32), tf.constant(labels, tf.int32)


def _compile(model: keras.Model, jit: bool = False) -> None:
    model.compile(
        keras.optimizers.SGD(1e-3, momentum=0.9),
        "sparse_categorical_crossentropy",
        metrics=["accuracy"],
        jit_compile=jit,
    )


def _pack(net: PackNet, name: str, jit: bool, steps: int) -> None:
    """Adds a task, trains it for some steps on noise, and packs it."""
    images, labels = _images(8)
    net.add_task(name, _CLASSES)
    for phase in range(2):
        _compile(net, jit)
        net.fit(images, labels, batch_size=8, epochs=steps, verbose=0)
        if phase == 0:
            net.prune(0.5)
    net.pack()


def promise(policy: str, jit: bool, deterministic: bool) -> dict:
    """Returns whether a task's logits keep their bytes, state by state."""
    keras.config.set_dtype_policy(policy)
    keras.utils.set_random_seed(0)
    images, _ = _images(8)
    net = PackNet(_backbone("mobilenet"))
    found = []
    for number in range(3):
        _pack(net, f"task{number}", jit, steps=3)
        net.activate("task0")
        found.append(np.asarray(net.logits(images)).tobytes())
    with tempfile.TemporaryDirectory() as folder:
        path = export_saved_model(net, pathlib.Path(folder) / "1")
        served = tf.saved_model.load(path).signatures["task0"](images=images)
        scores = net.predict(images, verbose=0)
        kept = served["scores"].numpy().tobytes() == scores.tobytes()
    net.verify_digests()  # Raises unless they hold.
    keras.config.set_dtype_policy("float32")
    return {
        "policy": policy,
        "xla_in_training": jit,
        "deterministic": deterministic,
        "later_states": found[1:] == found[:1] * 2,
        "saved_model": kept,
        "digests": True,
    }


def _ratios(runs: dict[str, Run], calls: int, pairs: int) -> dict:
    """Times runs in turn; returns medians of their ratios to the first."""
    names = [*runs]
    for run in runs.values():
        run(3)
    taken = in_turn(runs, calls, pairs)
    base = taken[names[0]]
    found = {name: float(np.median(taken[name] / base)) for name in names[1:]}
    return {f"{names[0]}_seconds": float(np.median(base)), **found}


def step(network: str) -> dict:
    """Returns the ratio of a second task's training step to plain Keras's."""
    batch = 4 if _SMOKE.value else 64

    def plain() -> keras.Model:
        backbone = _backbone(network)
        head = keras.layers.Dense(_CLASSES, activation="softmax")
        model = keras.Model(backbone.input, head(backbone.output))
        _compile(model)
        return model

    net = PackNet(_backbone(network))
    _pack(net, "base", False, steps=1)
    net.add_task("added", _CLASSES)
    _compile(net)
    _peak()
    runs, memory = {}, {}
    for name, model in (
        ("plain", plain()),
        ("control", plain()),
        ("packnet", net),
    ):
        runs[name] = stepper(model, *_images(batch))
        memory[name] = _peak()
    found = _ratios(runs, 1 if _SMOKE.value else 10, 2 if _SMOKE.value else 12)
    return {
        "network": network,
        "batch": batch,
        **found,
        "images_a_second": batch / found["plain_seconds"],
        "peak_bytes": memory,
    }


def served() -> list[dict]:
    """Returns latency and memory of four tasks beside a plain SavedModel."""
    net = PackNet(_backbone("mobilenet"))
    for number in range(4):
        _pack(net, f"task{number}", False, steps=1)
    rows = []
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        save_plain(extract(net, "task3"), folder / "plain")
        for layout in LAYOUTS:
            _peak()
            plain = tf.saved_model.load(folder / "plain")
            control = tf.saved_model.load(folder / "plain")
            before = _peak()
            path = export_saved_model(net, folder / layout, layout=layout)
            ours = tf.saved_model.load(path)
            for batch in (1, 4 if _SMOKE.value else 32):
                images, _ = _images(batch)
                runs = {
                    "plain": plain.signatures["serving_default"],
                    "control": control.signatures["serving_default"],
                    "oldest": ours.signatures["task0"],
                    "newest": ours.signatures["task3"],
                }
                found = _ratios(
                    {n: caller(s, images) for n, s in runs.items()},
                    1 if _SMOKE.value else 30,
                    2 if _SMOKE.value else 12,
                )
                memory = {"two_plain": before, "with_ours": _peak()}
                rows.append(
                    {
                        "layout": layout,
                        "batch": batch,
                        **found,
                        "peak_bytes": memory,
                    }
                )
    return rows


def pipeline() -> dict:
    """Returns images a second of a first epoch, from files, and a second."""
    count, size = (16, 32) if _SMOKE.value else (1024, 224)
    random = np.random.default_rng(0)
    with tempfile.TemporaryDirectory() as name:
        for number in range(count):
            file = pathlib.Path(name, "train", str(number % 2), f"{number}.jpg")
            file.parent.mkdir(parents=True, exist_ok=True)
            pixels = random.integers(0, 255, (320, 320, 3), np.uint8)
            file.write_bytes(tf.io.encode_jpeg(pixels).numpy())
        source = open_task("noise", name).train
        batches = training(source, size, 8 if _SMOKE.value else 64)
        rates = []
        for epoch in range(4):
            start = time.perf_counter()
            for _ in batches.epoch(epoch):
                pass
            rates.append(count / (time.perf_counter() - start))
    return {"first_epoch": rates[0], "later": statistics.median(rates[1:])}


def main(_):
    if _device() == "CPU:0" and not _SMOKE.value:
        raise SystemExit("error: no GPU was found; --smoke runs without one")
    keras.utils.set_random_seed(0)
    details = [
        tf.config.experimental.get_device_details(device)
        for device in tf.config.list_physical_devices("GPU")
    ]
    start = time.monotonic()
    found = {
        "device": details or "CPU",
        "smoke": _SMOKE.value,
        "tensorflow": tf.__version__,
        "promise": [
            promise(policy, jit, False)
            for policy in _POLICIES
            for jit in (False, True)
        ],
    }
    # For the rest of the process.
    tf.config.experimental.enable_op_determinism()
    found["promise"] += [promise(policy, False, True) for policy in _POLICIES]
    _report(found, "promise")
    found["pipeline"] = pipeline()
    _report(found, "pipeline")
    found["served"] = served()
    _report(found, "served")
    found["steps"] = []
    for network in ("mobilenet", "resnet50"):
        gc.collect()
        found["steps"].append(step(network))
        keras.backend.clear_session()
    _report(found, "steps")
    found["seconds"] = round(time.monotonic() - start)
    print(f"{found['seconds']} s, {_JSON.value}")
    _write(found)


def _write(found: dict) -> None:
    pathlib.Path(_JSON.value).write_text(json.dumps(found, indent=1) + "\n")


def _report(found: dict, part: str) -> None:
    """Prints a part, and writes all that there is so far."""
    _write(found)
    rows = found[part]
    for row in rows if isinstance(rows, list) else [rows]:
        shown = (
            f"{k} {v:.3f}" if isinstance(v, float) else f"{k} {v}"
            for k, v in row.items()
        )
        print(f"{part}: {', '.join(shown)}", flush=True)


if __name__ == "__main__":
    app.run(main)
