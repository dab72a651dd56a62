"""What several workers cost: a training step in 1, 2 and 4 local processes.

Run with `python benchmarks/workers.py`; it prints a table and writes
`benchmarks/workers.json`. The global batch stays the same. All processes share
the cores of this machine, so that what is measured is the cost of dividing a
step, not a gain. `--model` prints what the same sums give for many GPUs, from
figures that are assumed, not measured. docs/workers.md explains both.
"""

import json
import os
import pathlib
import socket
import subprocess
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

from absl import app, flags, logging

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from packnet_tf import console
from packnet_tf.options.cluster import Cluster, parse_cluster

_WORKERS = flags.DEFINE_list("workers", ["1", "2", "4"], "Numbers of workers.")
_STEPS = flags.DEFINE_integer("steps", 20, "Steps that are timed.")
_BATCH = flags.DEFINE_integer("batch_size", 32, "Images per step in all.")
_SMOKE = flags.DEFINE_bool("smoke", False, "A small network and few steps.")
_MODEL = flags.DEFINE_bool("model", False, "Print the model, and stop.")
_JSON = flags.DEFINE_string(
    "json",
    str(pathlib.Path(__file__).with_suffix(".json")),
    "File for the figures.",
)

# What the model assumes of one GPU, and of the network between the machines.
STEP_SECONDS = 0.125  # ResNet-50, 224 px, batch 128, mixed_bfloat16.
TRAINABLE_MEGABYTES = 94.0  # Its 23.5 million weights in float32.
GPUS_OF_A_MACHINE = 8
INSIDE = 200e9  # Bytes a second between GPUs of a machine.
BETWEEN = 25e9  # Bytes a second from a machine: 200 Gbit/s.
LATENCY = 20e-6  # Seconds of one message.
IMAGES = 1_281_167
SERIAL = 60.0  # Seconds of an epoch that no worker shortens.


def train(cluster: Cluster | None) -> dict[str, object]:
    """Times the steps of one worker; all of them run this at once."""
    import keras
    import numpy as np
    import tensorflow as tf

    from packnet_tf.model.packnet import PackNet
    from packnet_tf.model.replicas import make_strategy, split_for_replicas
    from packnet_tf.networks.small import cnn

    tf.get_logger().setLevel("ERROR")
    strategy = make_strategy(1 if cluster is None else None, cluster)
    keras.utils.set_random_seed(0)
    size = 32 if _SMOKE.value else 96
    with strategy.scope():
        net = PackNet(
            cnn(size)
            if _SMOKE.value
            else keras.applications.MobileNet(
                alpha=0.75,
                include_top=False,
                weights=None,
                input_shape=(size, size, 3),
                pooling="avg",
            )
        )
    net.add_task("base", 30)
    net.compile(
        keras.optimizers.SGD(1e-4, momentum=0.9),
        "sparse_categorical_crossentropy",
    )
    rng = np.random.default_rng(0)
    batch = _BATCH.value
    x = rng.uniform(0, 255, (batch, size, size, 3)).astype("float32")
    y = rng.integers(0, 30, batch)
    data = tf.data.Dataset.from_tensor_slices((x, y)).batch(batch).repeat()
    # `fit` makes the metrics and the optimizer's slots.
    net.fit(data, steps_per_epoch=2, verbose=0)
    parts = next(iter(split_for_replicas(strategy, data)))

    @tf.function(autograph=False)
    def step(part):
        return strategy.run(net.train_step, args=(part,))

    counted = reduced_bytes(step.get_concrete_function(parts))
    for _ in range(2):
        step(parts)
    steps = 3 if _SMOKE.value else _STEPS.value
    start = time.perf_counter()
    for _ in range(steps):
        logs = step(parts)
    tf.nest.map_structure(
        lambda log: strategy.experimental_local_results(log)[0].numpy(), logs
    )
    return {
        "workers": 1 if cluster is None else len(cluster.workers),
        "batch_size": batch,
        "steps": steps,
        "step_seconds": (time.perf_counter() - start) / steps,
        "trainable_bytes": sum(
            int(np.prod(v.shape)) * tf.as_dtype(v.dtype).size
            for v in net.trainable_variables
        ),
        "all_reduced_bytes": counted,
    }


def reduced_bytes(function) -> int:
    """Returns how many bytes one call of a program sums over the workers."""
    import tensorflow as tf

    graph = function.graph.as_graph_def(add_shapes=True)
    nodes = [*graph.node]
    for inner in graph.library.function:
        nodes += inner.node_def
    total = 0
    for node in nodes:
        if node.op.startswith("CollectiveReduce"):
            shape = node.attr["_output_shapes"].list.shape[0]
            count = tf.TensorShape(shape).num_elements() or 0
            total += count * tf.as_dtype(node.attr["T"].type).size
    return total


def run_workers(count: int) -> dict[str, object]:
    """Starts so many workers; returns what the chief measured."""
    sockets = [socket.socket() for _ in range(count)]
    for one in sockets:
        one.bind(("127.0.0.1", 0))
    addresses = [f"127.0.0.1:{one.getsockname()[1]}" for one in sockets]
    for one in sockets:
        one.close()
    workers = []
    for index in range(count):
        config = {
            "cluster": {"worker": addresses},
            "task": {"type": "worker", "index": index},
        }
        workers.append(
            subprocess.Popen(
                [sys.executable, *sys.argv],
                env={
                    **os.environ,
                    "TF_CONFIG": json.dumps(config),
                    "BENCHMARK_WORKER": "1",
                },
                stdout=subprocess.PIPE,
                text=True,
            )
        )
    outputs = [worker.communicate()[0] for worker in workers]
    if any(worker.returncode for worker in workers):
        sys.exit("error: a worker has failed; see above.")
    return json.loads(outputs[0].splitlines()[-1])


def model_rows(step=STEP_SECONDS, megabytes=TRAINABLE_MEGABYTES, batch=128):
    """Returns the model's rows for 1 to 64 GPUs.

    A ring moves 2 (n - 1) / n times the trainable bytes through each of its n
    members, in 2 (n - 1) messages; first inside each machine, then between
    them. Nothing of it is hidden behind the backward pass, which makes this
    an upper limit of its cost.
    """
    rows = []
    for gpus in (1, 2, 4, 8, 16, 32, 64):
        inside = min(gpus, GPUS_OF_A_MACHINE)
        machines = gpus // inside
        seconds = 0.0
        for members, speed in ((inside, INSIDE), (machines, BETWEEN)):
            moved = 2 * (members - 1) / members * megabytes * 1e6
            seconds += moved / speed + 2 * (members - 1) * LATENCY
        whole = step + seconds
        epoch = IMAGES / (gpus * batch) * whole
        alone = IMAGES / batch * step + SERIAL
        rows.append(
            [
                gpus,
                gpus * batch,
                f"{1e3 * seconds:.2f}",
                f"{1e3 * whole:.1f}",
                f"{step / whole:.1%}",
                f"{epoch:.0f}",
                f"{alone / (epoch + SERIAL):.1f}",
            ]
        )
    return rows


def main(_):
    if _MODEL.value:
        head = ["GPUs", "batch", "all-reduce ms", "step ms", "step efficiency"]
        head += ["epoch s", "speedup with the serial part"]
        print(console.table(head, model_rows(), left=()))
        return
    if "BENCHMARK_WORKER" in os.environ:
        logging.set_verbosity(logging.WARNING)
        cluster = parse_cluster(os.environ["TF_CONFIG"])
        print(json.dumps(train(cluster if len(cluster.workers) > 1 else None)))
        return
    rows = [run_workers(int(count)) for count in _WORKERS.value]
    pathlib.Path(_JSON.value).write_text(json.dumps(rows, indent=1))
    cells = [
        [
            row["workers"],
            f"{row['batch_size'] // row['workers']}",
            f"{row['step_seconds']:.3f}",
            f"{row['step_seconds'] / rows[0]['step_seconds']:.2f}",
            f"{row['trainable_bytes'] / 1e6:.2f}",
            f"{row['all_reduced_bytes'] / 1e6:.2f}",
        ]
        for row in rows
    ]
    head = ["workers", "batch of each", "step s", "ratio"]
    head += ["trainable MB", "all-reduced MB"]
    print(console.table(head, cells, left=()))


if __name__ == "__main__":
    app.run(main)
