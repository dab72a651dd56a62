"""A workdir from start to end: what `apps/add_task.py` does, step by step."""

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf import checkpoints, pruning, publish, states
from packnet_tf.base import BaseRun
from packnet_tf.data.tasks import TaskData
from packnet_tf.errors import CapacityError, NetworkError, StateError
from packnet_tf.model import PackNet
from packnet_tf.networks import build
from packnet_tf.options import NetworkOptions, TaskOptions
from packnet_tf.workdir import StateInfo, Workdir
from packnet_tf.workflow import Prepared, TaskRun, accuracy, forecast, prepare

Say = Callable[[str], None]
_PROBES = 8


class Session:
    """One workdir with one network, and the strategy to train it with.

    Make it after the options are checked; nothing is written before `run`.

    Args:
        workdir: The workdir.
        network: Facts of the network; see `network_options_of`.
        model_name: Name of the served model.
        strategy: The strategy to train with.
        say: Where lines of progress go.
    """

    def __init__(
        self,
        workdir: Workdir,
        network: NetworkOptions,
        model_name: str,
        strategy: tf.distribute.Strategy,
        say: Say = print,
    ):
        self.workdir = workdir
        self.network = network
        self.model_name = model_name
        self.strategy = strategy
        self._say = say
        keras.config.set_dtype_policy(network.precision)

    def forecast(self, options: TaskOptions) -> str:
        """Returns a line on the capacity that a task will take and leave.

        Raises:
            CapacityError: If no weights are free.
        """
        state = self.workdir.newest()
        free, added = 1.0, 1
        if state is not None:
            metrics = state.tasks[-1].get("metrics") or {}
            free = metrics.get("capacity_left", 1.0)
            added = len(state.tasks)
        elif self.network.pretrained:
            free = self.network.base_prune_fraction
        if free == 0.0:
            raise CapacityError(
                f"No free weights are left for {options.task!r}; go back to a "
                "packed state before the last task and prune more there."
            )
        fraction = 0.0
        if "prune" in options.phases:
            fraction = pruning.parse_fraction(
                options.prune_fraction, added, options.planned_tasks
            )
        return forecast(free, fraction)

    def run(
        self,
        data: TaskData,
        options: TaskOptions,
        base_data: TaskData | None = None,
        *,
        again: bool = False,
    ) -> dict[str, Any]:
        """Takes a task through its phases, up to a state and its SavedModel.

        A workdir without states begins with the base task, if the network
        comes with weights. What is done is not done again.

        Args:
            data: The task's data.
            options: How to train it.
            base_data: The base task's own data, for its recovery.
            again: Whether pruning may be repeated; see `TaskRun.run`.

        Returns:
            The record of the run: `metrics`, `seconds`, `state` (folder) and
            `saved_model` (folder), the last two if it was packed.

        Raises:
            PackNetError: In one line, what is wrong and what to do.
        """
        prepared = prepare(data, self.network.image_size, options)
        # Everything that can be refused is refused before this line.
        network = self._build_network()
        facts = facts_of(self.network)
        self.workdir.compare(facts)
        with self.workdir.lock():
            self.workdir.create(facts)
            for line in self._recover():
                self._say(f"  {line}")
            state = self.workdir.newest()
            if state is None and self.network.pretrained:
                state = self._make_base(network, prepared, base_data, options)
            if state is not None and any(
                task["name"] == options.task for task in state.tasks
            ):
                self._say(f"  {options.task} is packed already: {state.path}")
                return self._done(state, options.task)
            net = self._network_to_train(network, state)
            run = TaskRun(
                net,
                prepared,
                options,
                self.workdir.training_path,
                self.workdir.logs_path / options.task,
                self._say,
            )
            record = run.run(again=again)
            if net.phase != "packed":
                return {**record, "net": net}
            return self._commit(net, prepared, options, record)

    def _build_network(self):
        """Builds the network where its states do not hold it yet."""
        if self.workdir.state_folders():
            return None
        options = self.network
        with self.strategy.scope():
            return build(
                options.network,
                image_size=options.image_size,
                weights=options.weights,
                options=options.network_options,
                head_layer=options.head_layer,
            )

    def _recover(self) -> list[str]:
        return publish.recover(
            self.workdir,
            model_name=self.model_name,
            image_size=self.network.image_size,
        )

    def _network_to_train(self, network, state: StateInfo | None) -> PackNet:
        with self.strategy.scope():
            if state is not None:
                return states.load(self.workdir, state.number)[0]
            keras.utils.set_random_seed(0)
            return PackNet(
                network.backbone,
                private=self.network.private,
                depthwise=self.network.depthwise,
            )

    def _make_base(
        self,
        network,
        prepared: Prepared,
        base_data: TaskData | None,
        options: TaskOptions,
    ) -> StateInfo:
        name = self.network.base_task
        self._say(f"{name} (the base task)")
        source = prepared
        if self.network.base_recovery == "data":
            if base_data is None:
                raise StateError(
                    "--base_recovery=data needs the base task's images; give "
                    "--base_data, or use --base_recovery=distill."
                )
            if network.classes != base_data.classes:
                raise NetworkError(
                    f"--base_data has {base_data.classes} classes, but the "
                    f"head of {self.network.network} has {network.classes}."
                )
            source = prepare(base_data, self.network.image_size, options)
        run = BaseRun(
            network,
            self.network,
            source,
            self.workdir.training_path,
            self.workdir.logs_path / name,
            options.seed,
            self._say,
        )
        net = run.run(self.strategy)
        metrics = {
            "head_agreement": network.head_agreement,
            "capacity_left": net.capacity,
        }
        state = self._write_state(
            net,
            prepared,
            metrics,
            {"network": dataclasses.asdict(self.network)},
        )
        return state

    def _commit(self, net, prepared, options, record) -> dict[str, Any]:
        metrics = dict(record["metrics"])
        if prepared.test is not None:
            # The one look at the test split, when nothing can follow it.
            metrics["test_accuracy"] = accuracy(net, prepared.test)
        metrics["capacity_left"] = net.capacity
        facts = {
            "options": dataclasses.asdict(options),
            "data": prepared.facts,
            "seconds": record["seconds"],
            "history": record["history"],
        }
        state = self._write_state(net, prepared, metrics, facts)
        return self._done(state, options.task)

    def _write_state(self, net, prepared, metrics, facts) -> StateInfo:
        images = next(iter(prepared.train.epoch(0)))[0][:_PROBES]
        state = states.commit(
            self.workdir,
            net,
            metrics=metrics,
            facts=facts,
            probe_images=np.asarray(images),
        )
        checkpoints.remove(self.workdir.training_path)
        publish.publish(
            self.workdir,
            state,
            model_name=self.model_name,
            image_size=self.network.image_size,
        )
        return state

    def _done(self, state: StateInfo, task: str) -> dict[str, Any]:
        return {
            "task": task,
            "manifest": state.manifest,
            "state": state.path,
            "saved_model": self.workdir.serving_path
            / self.model_name
            / str(state.number),
        }


def facts_of(options: NetworkOptions) -> dict[str, Any]:
    """Returns what `run.json` holds of a network's options.

    A weights file is known by its content, so that it may move.

    Raises:
        NetworkError: If the file cannot be read.
    """
    facts = dataclasses.asdict(options)
    facts["weights"] = _identity(options.weights, ("imagenet", "none"))
    if options.network.endswith(".keras"):
        facts["network"] = _identity(options.network, ())
    return json.loads(json.dumps(facts))


def _identity(value: str, plain: tuple[str, ...]) -> str:
    if value in plain or value.startswith("file:"):
        return value
    try:
        content = pathlib.Path(value).read_bytes()
    except OSError as error:
        raise NetworkError(
            f"{value}: cannot be read ({error.strerror}); give the path of a "
            "file, or 'imagenet' or 'none'."
        ) from error
    digest = hashlib.sha256(content).hexdigest()
    return f"file:{pathlib.Path(value).name}:{digest[:16]}"


def network_options_of(
    workdir: Workdir, given: dict[str, Any]
) -> NetworkOptions:
    """Returns the network's options: those of the workdir, and those given.

    Args:
        workdir: The workdir; where it has a network, that one's options are
            the defaults.
        given: The options that the user gave, by name.

    Raises:
        StateError: If one that was given is not what the workdir was begun
            with.
        FlagError: If one has a value that cannot be used.
    """
    run = workdir.run
    if run is None:
        return NetworkOptions(**given)
    options = NetworkOptions(**{**run, **given})
    asked = facts_of(options)
    workdir.compare(asked)
    return options
