"""What a served model costs: against separate SavedModels of the network.

Run with `python benchmarks/serving.py`; it prints a table and writes
`benchmarks/serving.json`. The networks have random weights and tasks that
were never trained, which changes neither time nor size; docs/serving.md
explains the rows.

Every latency is of plain and packed SavedModel in turn, in one process, on
the same batch; beside it stands the same ratio of two plain SavedModels. The
oldest task and the newest are measured. Memory and time to load are each
those of a process of its own, with the session loader that TensorFlow Serving
uses. Every network with every number of tasks has a process of its own too: a
Python process keeps the models that it has loaded.

VGG-16 with ten tasks needs some 16 GB of memory, and 7 GB of disk in --folder.
"""

import gc
import itertools
import json
import os
import pathlib
import subprocess
import sys
import tempfile

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import tensorflow as tf
from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from benchmarks.timing import caller, in_turn
from benchmarks.trained import mobilenet
from packnet_tf.model.extract import extract
from packnet_tf.model.packnet import PackNet
from packnet_tf.options.network import PRECISIONS
from packnet_tf.options.serving import LAYOUTS
from packnet_tf.serving.formats import save_plain
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.workflow.report import size_of

_TASKS = flags.DEFINE_list("tasks", ["1", "4", "10"], "Numbers of tasks.")
_PAIRS = flags.DEFINE_integer("pairs", 20, "Interleaved pairs a latency.")
_NETWORKS = flags.DEFINE_list("networks", ["mobilenet", "vgg16"], "Networks.")
_LAYOUTS = flags.DEFINE_list("layouts", list(LAYOUTS), "Layouts.")
_PRIVATE = flags.DEFINE_enum(
    "private", "per_task", ["per_task", "frozen"], "As in add_task."
)
_PRECISION = flags.DEFINE_enum(
    "packed_precision", PRECISIONS[0], PRECISIONS, "As in add_task."
)
_FOLDER = flags.DEFINE_string("folder", None, "Where SavedModels are written.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

# Disk of all tasks over that of one plain float32 SavedModel: unrounded, and
# rounded to 16 bits with at most four tasks and with more.
DISK_BARS = (1.10, 0.60, 0.70)
# Seconds of loading ten tasks over those of ten plain SavedModels.
LOAD_BAR, LOADED_TASKS = 1.0, 10
# Latency over a plain model's.
LATENCY_BAR = 1.05
BATCHES = (1, 32)
CLASSES = 30
# Seconds of calls timed together.
_AT_ONCE = 0.25

_LOAD = """
import sys, time
import tensorflow as tf
v1 = tf.compat.v1

def memory():
    for line in open("/proc/self/status"):
        if line.startswith("VmRSS"):
            return int(line.split()[1]) * 1024

# TensorFlow starts before the clock does.
v1.Session(graph=tf.Graph()).close()
before, start = memory(), time.perf_counter()
sessions = []
for path in sys.argv[1:]:
    session = v1.Session(graph=tf.Graph())
    with session.graph.as_default():
        v1.saved_model.loader.load(session, ["serve"], path)
    sessions.append(session)
taken = time.perf_counter() - start
print(taken, memory() - before)
"""


def vgg16():
    """VGG-16 with fc6 and fc7 in the shared part, as the paper has it."""
    base = keras.applications.VGG16(
        include_top=False, weights=None, input_shape=(224, 224, 3)
    )
    x = keras.layers.Flatten()(base.output)
    for name in ("fc6", "fc7"):
        x = keras.layers.Dense(4096, activation="relu", name=name)(x)
    return keras.Model(base.input, x)


NETWORKS = {"mobilenet": mobilenet, "vgg16": vgg16}


def packed(network, count):
    """Returns a network with `count` packed tasks that differ."""
    keras.utils.set_random_seed(0)
    random = np.random.default_rng(0)
    net = PackNet(
        NETWORKS[network](),
        private=_PRIVATE.value,
        packed_precision=_PRECISION.value,
    )
    for number in range(count):
        # With a head that is given, a task counts as trained.
        head = keras.layers.Dense(CLASSES)
        head.build((None, net.feature_count()))
        name = f"task_{number + 1}"
        net.add_task(name, CLASSES, head=head, origin="random", seed=7)
        # Frozen ones are those of the first task.
        own = net.private_variables
        if _PRIVATE.value == "frozen" and number:
            own = []
        for variable in own:
            noise = np.abs(random.normal(size=variable.shape)) * 0.01
            variable.assign(np.asarray(variable) + noise)
        net.prune(0.75)
        net.pack()
    return net


def own_bytes(net):
    """Returns the bytes that are a task's own, added up over all tasks.

    Heads, and private variables: what no other task can share.
    """
    total = 0
    for task in net.tasks:
        arrays = [np.asarray(w) for w in net.head_of(task.name).weights]
        if _PRIVATE.value == "per_task" or task.owner == 1:
            arrays += net.private_values(task.name)
        total += sum(array.nbytes for array in arrays)
    return total


def loaded(paths):
    """Returns seconds and bytes of loading SavedModels in a new process."""
    done = subprocess.run(
        [sys.executable, "-c", _LOAD, *map(str, paths)],
        capture_output=True,
        text=True,
        check=True,
    )
    seconds, memory = done.stdout.split()
    return float(seconds), int(float(memory))


def latency(plain, control, model, task, batch, pairs):
    """Returns the ratios of a task's latency to a plain model's."""
    signature = model.signatures[task]
    spec = signature.structured_input_signature[1]["images"]
    random = np.random.default_rng(0)
    images = tf.constant(
        random.uniform(0, 255, [batch, *spec.shape[1:]]), tf.float32
    )
    runs = {
        "plain": caller(plain.signatures["serving_default"], images),
        "control": caller(control.signatures["serving_default"], images),
        "packed": caller(signature, images),
    }
    for run in runs.values():
        run(3)
    calls = max(1, round(_AT_ONCE / runs["plain"](2)))
    taken = in_turn(runs, calls, pairs)
    base = taken["plain"]
    control_ratios = taken["control"] / base
    return {
        "task": task,
        "batch": batch,
        "plain_seconds": float(np.median(base)),
        "ratio": float(np.median(taken["packed"] / base)),
        "control": float(np.median(control_ratios)),
        "control_upper_quartile": float(np.quantile(control_ratios, 0.75)),
    }


def measure(network, count, folder):
    """Returns the rows of one network with so many tasks."""
    net = packed(network, count)
    separate = []
    for task in net.tasks:
        path = folder / f"plain_{task.name}"
        save_plain(extract(net, task.name), path)
        separate.append(path)
    one, own = size_of(separate[0]), own_bytes(net)
    seconds, memory = loaded(separate)
    rows = []
    asked = [task.name for task in net.tasks]
    plain, control = (tf.saved_model.load(separate[0]) for _ in range(2))
    for layout in _LAYOUTS.value:
        path = export_saved_model(net, folder / layout, layout=layout)
        own_seconds, own_memory = loaded([path])
        model = tf.saved_model.load(path)
        rows.append(
            {
                "network": network,
                "tasks": count,
                "layout": layout,
                "disk": size_of(path),
                "disk_of_one": one,
                "own_bytes": own,
                "private": _PRIVATE.value,
                "packed_precision": _PRECISION.value,
                "disk_of_separate": sum(map(size_of, separate)),
                "load_seconds": own_seconds,
                "load_seconds_of_separate": seconds,
                "memory": own_memory,
                "memory_of_separate": memory,
                "latency": [
                    latency(plain, control, model, task, batch, _PAIRS.value)
                    for task in dict.fromkeys((asked[0], asked[-1]))
                    for batch in BATCHES
                ],
            }
        )
        show(rows[-1])
        del model
        gc.collect()
    return rows


def verdict(ratio, bar):
    """Returns a ratio beside its bar."""
    return (
        f"{ratio:.3f} (bar {bar:.3f}: {'held' if ratio <= bar else 'MISSED'})"
    )


def disk_bar(row):
    """Returns the bound on a SavedModel's size, of one plain one."""
    whole, few, many = DISK_BARS
    if row["packed_precision"] == PRECISIONS[0]:
        return whole
    return few if row["tasks"] <= 4 else many


def show(row):
    """Prints what was measured of one SavedModel."""
    mega = 1e6
    print(
        f"{row['network']}, {row['tasks']} tasks, {row['layout']}, "
        f"{row['packed_precision']}"
    )
    disk = row["disk"] / row["disk_of_one"]
    print(
        f"  disk     {row['disk'] / mega:9.1f} MB; one plain SavedModel "
        f"{row['disk_of_one'] / mega:.1f} MB, separate ones "
        f"{row['disk_of_separate'] / mega:.1f} MB; ratio to one "
        f"{verdict(disk, disk_bar(row))}; the tasks' own "
        f"{row['own_bytes'] / mega:.1f} MB"
    )
    load = row["load_seconds"] / row["load_seconds_of_separate"]
    print(
        f"  load     {row['load_seconds']:9.2f} s;  separate ones "
        f"{row['load_seconds_of_separate']:.2f} s; ratio "
        + (
            verdict(load, LOAD_BAR)
            if row["tasks"] >= LOADED_TASKS
            else f"{load:.3f}"
        )
    )
    print(
        f"  memory   {row['memory'] / mega:9.1f} MB; separate ones "
        f"{row['memory_of_separate'] / mega:.1f} MB"
    )
    for found in row["latency"]:
        line = (
            f"  {found['task']:<9}batch {found['batch']:<3}"
            f"{found['plain_seconds'] * 1e3:9.2f} ms plain; control "
            f"{found['control']:.3f}, upper quartile "
            f"{found['control_upper_quartile']:.3f}; ratio "
        )
        if row["layout"] == LAYOUTS[0]:
            line += verdict(found["ratio"], LATENCY_BAR)
        else:
            line += f"{found['ratio']:.3f}"
        print(line, flush=True)


def apart(network, count, folder):
    """Returns the rows of `measure`, from a process of its own."""
    path = folder / "rows.json"
    subprocess.run(
        [
            sys.executable,
            __file__,
            f"--networks={network}",
            f"--tasks={count}",
            f"--pairs={_PAIRS.value}",
            f"--private={_PRIVATE.value}",
            f"--packed_precision={_PRECISION.value}",
            f"--layouts={','.join(_LAYOUTS.value)}",
            f"--folder={folder}",
            f"--json={path}",
        ],
        check=True,
    )
    return json.loads(path.read_text())


def main(_):
    logging.set_verbosity(logging.WARNING)
    rows = []
    wanted = list(itertools.product(_NETWORKS.value, map(int, _TASKS.value)))
    run = measure if len(wanted) == 1 else apart
    for network, count in wanted:
        with tempfile.TemporaryDirectory(dir=_FOLDER.value) as folder:
            rows += run(network, count, pathlib.Path(folder))
    pathlib.Path(_JSON.value).write_text(json.dumps(rows, indent=1) + "\n")


if __name__ == "__main__":
    app.run(main)
