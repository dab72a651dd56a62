"""Takes one workdir from options and data to a packed state."""

import dataclasses
import pathlib
from typing import Any

import keras
import tensorflow as tf

from packnet_tf import atomic_files
from packnet_tf.convert.sharing import refuse_shared
from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import NetworkError
from packnet_tf.model import workers
from packnet_tf.model.packnet import PackNet
from packnet_tf.networks import Network, build, check_name
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.options.task import TaskOptions, check_batch_size
from packnet_tf.storage import states
from packnet_tf.storage.checkpoints import TrainingRecord
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow import preflight, shared_workdir
from packnet_tf.workflow.auto_fraction import check_validation
from packnet_tf.workflow.base_run import make_base_task, new_net
from packnet_tf.workflow.commit import commit_task, recover
from packnet_tf.workflow.datasets import Prepared, prepare, prepare_test
from packnet_tf.workflow.fit_images import training_images
from packnet_tf.workflow.forecast import forecast, number_of
from packnet_tf.workflow.metrics import accuracy
from packnet_tf.workflow.run_config import facts_of
from packnet_tf.workflow.task_run import TaskRun, run_phases
from packnet_tf.workflow.train_loop import Say


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How far a session has taken a task.

    Attributes:
        task: The task's name.
        state: The packed state that has it, or None before pack.
        saved_model: Path of that state's SavedModel, or None.
        net: The network in training, or None after pack.
        record: The work done on a task in training, or None after pack.
    """

    task: str
    state: StateInfo | None = None
    saved_model: pathlib.Path | None = None
    net: PackNet | None = None
    record: TrainingRecord | None = None


class Session:
    """One workdir with one network, and the strategy to train it with.

    Nothing is written before `run`.

    Args:
        workdir: The workdir.
        network: The network's options; see `network_options_of`.
        serving: Name and layout of the served model.
        strategy: The strategy to train with.
        say: Prints a line of progress.

    Raises:
        NetworkError: If there is no such network, or no such file.
    """

    def __init__(
        self,
        workdir: Workdir,
        network: NetworkOptions,
        serving: ServingConfig,
        strategy: tf.distribute.Strategy,
        say: Say = print,
    ):
        if not workdir.state_folders():
            check_name(network.network)
        self._facts = facts_of(network)
        self.workdir = workdir
        self.network = network
        self.serving = serving
        self.strategy = strategy
        # Of several workers, one says it all.
        self._say = say if workers.is_chief(strategy) else _say_nothing
        self._built: Network | None = None
        keras.config.set_dtype_policy(network.precision)

    def check(
        self,
        options: TaskOptions,
        *,
        base_data: bool = False,
        again: bool = False,
    ) -> str:
        """Refuses all mistakes that can be found without the data.

        The network is built here, so that its name, options and weights are
        checked before a large dataset is read.

        Args:
            options: How to train the task.
            base_data: Whether there are images of the base task.
            again: Whether pruning may be repeated; see `run_phases`.

        Returns:
            A line on the capacity that the task will use and leave; empty if
            it is packed already.

        Raises:
            PackNetError: Saying in one line what is wrong and what to do.
        """
        check_batch_size(options.batch_size, self.strategy.num_replicas_in_sync)
        shared_workdir.check_options(self.strategy, self._facts, options, again)
        shared_workdir.look_again(self.workdir, self.strategy)
        self.workdir.compare(self._facts)
        preflight.check_run(
            self.workdir,
            self.network,
            options,
            base_data=base_data,
            again=again,
        )
        state = self.workdir.newest()
        line = ""
        if not preflight.is_packed(state, options.task):
            line = forecast(self.workdir, self.network, options, state)
        self._build_network(options.seed)
        return line

    def run(
        self,
        data: TaskData,
        options: TaskOptions,
        base_data: TaskData | None = None,
        *,
        base_images: Any = None,
        again: bool = False,
    ) -> Outcome:
        """Runs a task's phases, up to its packed state and SavedModel.

        A workdir without states starts with the base task if the network
        comes with weights. Finished phases are not repeated.

        Args:
            data: The task's data.
            options: How to train it.
            base_data: The base task's own data, for its recovery.
            base_images: What the base task is fitted on after it is pruned,
                as for `PackNet.prune`; by default images of `base_data`, or
                else of `data`.
            again: Whether pruning may be repeated; see `run_phases`.

        Returns:
            The packed state, or the network and record of a task that is
            still in training.

        Raises:
            PackNetError: Saying in one line what is wrong and what to do.
        """
        self.check(options, base_data=base_data is not None, again=again)
        data = preflight.as_begun(self.workdir, options.task, data, self._say)
        network = self._build_network(options.seed)
        prepared = prepare(data, self.network.image_size, options)
        check_validation(options, prepared.validation is not None)
        shared_workdir.check_images(self.strategy, prepared)
        base_prepared = self._prepare_base(network, base_data, options)
        # All refusals come before this line.
        with shared_workdir.writing(self.workdir, self.strategy) as writes:
            if writes:
                self.workdir.create(self._facts)
                for line in recover(self.workdir, self.serving, options.task):
                    self._say(f"  {line}")
            shared_workdir.look_again(self.workdir, self.strategy)
            self.workdir.check_there()
            state = self.workdir.newest()
            if state is None and network is None:
                raise atomic_files.gone(self.workdir.path)
            if state is None and self.network.pretrained:
                state = self._make_base(
                    network,
                    base_prepared or prepared,
                    prepared,
                    options,
                    base_images,
                )
            if state is not None and preflight.is_packed(state, options.task):
                self._say(f"  {options.task} is packed already: {state.path}")
                return self._packed(state, options.task)
            net = self._network_to_train(network, state, options.seed)
            run = TaskRun(
                net,
                TrainingRecord(options.task),
                self.workdir.training_path,
                self.workdir.logs_path / options.task,
                self._say,
                data=prepared,
                options=options,
                number=number_of(state, self.network),
            )
            record = run_phases(run, again=again)
            if net.phase != "packed":
                return Outcome(options.task, net=net, record=record)
            return self._packed(self._commit(run, data), options.task)

    def _packed(self, state: StateInfo, task: str) -> Outcome:
        folder = self.workdir.serving_path / self.serving.model_name
        return Outcome(task, state, folder / str(state.number))

    def _build_network(self, seed: int) -> Network | None:
        """Builds the network, once, unless a packed state has it."""
        if self.workdir.state_folders():
            return None
        if self._built is not None:
            return self._built
        options = self.network
        keras.utils.set_random_seed(seed)
        with self.strategy.scope():
            self._built = build(
                options.network,
                image_size=options.image_size,
                weights=options.weights,
                options=options.network_options,
                head_layer=options.head_layer,
            )
        return self._built

    def _network_to_train(
        self, network, state: StateInfo | None, seed: int
    ) -> PackNet:
        # Dropout layers draw their seeds when they are created.
        keras.utils.set_random_seed(seed)
        with self.strategy.scope():
            if state is not None:
                net = states.load(self.workdir, state.number)[0]
            else:
                net = new_net(network, self.network)
        refuse_shared(net.backbone)  # Or only pack would, hours later.
        return net

    def _prepare_base(self, network, base_data, options) -> Prepared | None:
        """Prepares the base task's own images if it recovers on them."""
        if (
            network is None
            or not self.network.pretrained
            or self.network.base_recovery != "data"
        ):
            return None
        if network.classes != base_data.classes:
            raise NetworkError(
                f"--base_data has {base_data.classes} classes, but the head "
                f"of {self.network.network} has {network.classes}."
            )
        prepared = prepare(base_data, self.network.image_size, options)
        shared_workdir.check_images(self.strategy, prepared)
        return prepared

    def _make_base(
        self,
        network,
        source: Prepared,
        prepared: Prepared,
        options: TaskOptions,
        images: Any,
    ) -> StateInfo:
        name = self.network.base_task
        if images is None and options.reconstruct:
            images = training_images(source, options.reconstruct_images)
        self._say(f"{name} (the base task)")
        base = make_base_task(
            network,
            self.network,
            source,
            self.workdir.training_path,
            self.strategy,
            images=images,
            log_folder=self.workdir.logs_path / name,
            seed=options.seed,
            say=self._say,
        )
        return commit_task(
            self.workdir,
            self.serving,
            base.net,
            prepared,
            {"head_agreement": network.head_agreement},
            {
                "network": dataclasses.asdict(self.network),
                "seconds": base.record.seconds,
                "history": base.record.history,
            },
        )

    def _commit(self, run: TaskRun, data: TaskData) -> StateInfo:
        record = run.record
        metrics = dict(record.metrics)
        test = prepare_test(data, self.network.image_size, run.options)
        if test is not None:
            # The only use of the test split, after the last decision.
            metrics["test_accuracy"] = accuracy(run.net, test)
        facts = {
            # Those of a phase that an earlier command ran are that one's.
            "options": dataclasses.asdict(run.resolved)
            | record.settings.get("retrain", {})
            | record.settings.get("train", {}),
            "pruning": record.pruning,
            "data": run.data.facts.to_json(),
            "seconds": record.seconds,
            "history": record.history,
        }
        return commit_task(
            self.workdir, self.serving, run.net, run.data, metrics, facts
        )


def _say_nothing(line: str) -> None:
    """Prints no line of progress."""
