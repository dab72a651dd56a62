"""Runs a comparison cell by cell; what is finished is not run again."""

import dataclasses
import pathlib
import time
from collections.abc import Sequence

import keras

from packnet_tf import atomic_files
from packnet_tf.compare.cell import Cell, Result
from packnet_tf.compare.folder import Folder
from packnet_tf.compare.measure import run_cell
from packnet_tf.compare.methods import METHODS
from packnet_tf.compare.packnet import PackNetMethod
from packnet_tf.compare.plan import plan_of
from packnet_tf.compare.summary import Summary, summarize
from packnet_tf.compare.table import text_of
from packnet_tf.compare.timing import Timing
from packnet_tf.data.task_data import TaskData
from packnet_tf.errors import DataError, FlagError
from packnet_tf.networks import build, check_name
from packnet_tf.options.compare import CompareOptions
from packnet_tf.options.fractions import parse_fraction
from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.task import TaskOptions
from packnet_tf.storage import checksums
from packnet_tf.tf_internals.gradients import new_gradients_forgotten
from packnet_tf.workflow.auto_fraction import check_validation
from packnet_tf.workflow.datasets import (
    Prepared,
    prepare,
    prepare_test,
    validation_count,
)
from packnet_tf.workflow.train_loop import Say


class Comparison:
    """Methods compared on the same data with the same budget.

    Nothing is written before `run`.

    Args:
        path: Its folder.
        data: The data of each task, in order.
        network: The options of the network.
        options: How every task is trained; task, seed and learning rates are
            set for each cell.
        compare: Methods, seeds and learning rates.
        say: Prints a line of progress.

    Raises:
        PackNetError: Saying in one line what is wrong and what to do.
    """

    def __init__(
        self,
        path: pathlib.Path,
        data: Sequence[TaskData],
        network: NetworkOptions,
        options: TaskOptions,
        compare: CompareOptions,
        say: Say = print,
    ):
        self._folder = Folder(path)
        self._data = data
        self._network = network
        self._options = options
        self._compare = compare
        self._say = say
        keras.config.set_dtype_policy(network.precision)
        self._check()
        plan = plan_of(data, network, options, compare)
        self._plan = self._folder.check(plan)
        self._prepared: tuple[int, list[Prepared]] | None = None
        self._timing = Timing()

    def _check(self) -> None:
        """Refuses what can be known to fail before a cell runs."""
        for task in self._data:
            for part, images in (("training", task.train), ("test", task.test)):
                if images is None or not len(images):
                    raise DataError(
                        f"The data of task {task.name!r} has no {part} images, "
                        "which a comparison needs; give other --data."
                    )
        names = [task.name for task in self._data]
        for name in names:
            if names.count(name) > 1:
                raise FlagError(
                    f"--tasks: {name!r} is the name of two tasks; give each "
                    "task once."
                )
        fraction = str(self._options.prune_fraction)
        if "," in fraction:
            # A list must be long enough for the last task.
            parse_fraction(fraction, len(names))
        rates = self._compare.learning_rates
        for data in self._data:
            validates = bool(validation_count(data, self._options))
            if len(rates) > 1 and not validates:
                raise FlagError(
                    f"--learning_rates has {len(rates)} rates to choose "
                    f"from, but task {data.name!r} has no validation "
                    "images; give --validation_share above 0, or one rate."
                )
            if PackNetMethod.name in self._compare.methods:
                options = dataclasses.replace(self._options, task=data.name)
                check_validation(options, validates)
        network = self._network
        check_name(network.network)
        # A network that cannot be built fails here, not in the first cell.
        build(
            network.network,
            image_size=network.image_size,
            weights=network.weights,
            options=network.network_options,
            head_layer=network.head_layer,
        )

    def run(self) -> Summary:
        """Runs the cells that are missing.

        After each of them the table on disk is written anew.

        Returns:
            The results.
        """
        compare, seed = self._compare, self._plan.tuning_seed
        rates = compare.learning_rates
        with self._folder.held():
            self._folder.begin(self._plan)
            tuning = len(compare.methods) * len(rates) if len(rates) > 1 else 0
            self._timing.plan(tuning, len(compare.methods) * len(compare.seeds))
            chosen = {
                method: self._choose(method, seed) for method in compare.methods
            }
            results: dict[str, list[Result]] = {m: [] for m in chosen}
            for seed in compare.seeds:
                for method, rate in chosen.items():
                    if rate is None:
                        self._timing.skip()
                        continue
                    result = self._cell(method, rate, seed, tuning=False)
                    results[method].append(result)
                    self._write(summarize(self._plan, chosen, results))
            summary = summarize(self._plan, chosen, results)
            self._write(summary)
        return summary

    def _choose(self, method: str, seed: int) -> float | None:
        """Returns the learning rate of the best validation accuracy."""
        rates = self._compare.learning_rates
        if len(rates) == 1:
            return rates[0]
        best: tuple[float, float] | None = None
        for rate in rates:
            score = self._cell(method, rate, seed, tuning=True).score
            if score is not None and (best is None or score > best[0]):
                best = score, rate
        return None if best is None else best[1]

    def _cell(
        self, method: str, rate: float, seed: int, *, tuning: bool
    ) -> Result:
        """Returns the result of a cell, which is run if it is missing."""
        found = self._folder.result(method, rate, seed, tuning=tuning)
        if found is not None:
            self._timing.found(found)
            return found
        options = dataclasses.replace(
            self._options, seed=seed, learning_rate=rate
        )
        tasks = self._prepare(options)
        start = time.monotonic()
        with self._folder.work() as work, new_gradients_forgotten():
            result = run_cell(
                METHODS[method],
                Cell(
                    tasks=tasks,
                    tests=None if tuning else self._tests(options),
                    network=self._network,
                    options=options,
                    compare=self._compare,
                    folder=work,
                ),
            )
        self._folder.keep(result, tuning=tuning)
        self._timing.ran(time.monotonic() - start)
        self._say(self._timing.line(result, tuning))
        return result

    def _prepare(self, options: TaskOptions) -> list[Prepared]:
        """Returns the data as one seed splits and shuffles it."""
        if self._prepared is None or self._prepared[0] != options.seed:
            self._prepared = None  # Frees the images of the seed before.
            size = self._network.image_size
            found = [
                prepare(
                    data, size, dataclasses.replace(options, task=data.name)
                )
                for data in self._data
            ]
            for task in found:
                # Decoding is no part of a method's time.
                task.train.load()
            self._prepared = options.seed, found
        return self._prepared[1]

    def _tests(self, options: TaskOptions) -> list:
        size = self._network.image_size
        return [prepare_test(data, size, options) for data in self._data]

    def _write(self, summary: Summary) -> None:
        files = {
            self._folder.json_path: checksums.json_bytes(summary),
            self._folder.text_path: f"{text_of(summary)}\n".encode(),
        }
        for path, content in files.items():
            atomic_files.write_file(path, content)
