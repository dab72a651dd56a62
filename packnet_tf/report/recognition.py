"""What the tasks answer on their test images, in every packed state."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from packnet_tf.console import Report
from packnet_tf.data.images.pixel_path import evaluation_resize
from packnet_tf.data.pipeline import CACHE_BYTES, evaluation_order
from packnet_tf.data.sources.base import Source
from packnet_tf.model.packnet import PackNet
from packnet_tf.storage import states
from packnet_tf.storage.manifest import PackedTask
from packnet_tf.storage.workdir import StateInfo, Workdir
from packnet_tf.workflow import test_data
from packnet_tf.workflow.metrics import confusion, share_right


@dataclasses.dataclass(frozen=True)
class WorstImage:
    """A test image and what its task made of it.

    Attributes:
        image: What it is called, e.g. its path.
        pixels: As the network sees it, uint8 of shape [size, size, 3].
        label: Number of its class.
        answer: Number of the class with the highest score.
        score: Score of its own class.
    """

    image: str
    pixels: np.ndarray
    label: int
    answer: int
    score: float


@dataclasses.dataclass(frozen=True)
class Recognition:
    """A task's answers on its test images, in its newest state.

    Attributes:
        task: Its name.
        class_names: Names of its classes.
        confusion: How often each class was taken for each, int64 of shape
            [classes, classes]: true class, then answer.
        worst: The images whose own class has the lowest scores, from the
            lowest on.
    """

    task: str
    class_names: tuple[str, ...]
    confusion: np.ndarray
    worst: tuple[WorstImage, ...]


@dataclasses.dataclass(frozen=True)
class Measured:
    """The result of an evaluation of all states.

    Attributes:
        accuracy: Accuracies by state's number and task's owner.
        recognition: One for each task with test images, in order.
        missing: Why a task has none, by its owner; e.g. `"no data"`.
    """

    accuracy: dict[tuple[int, int], float] = dataclasses.field(
        default_factory=dict
    )
    recognition: list[Recognition] = dataclasses.field(default_factory=list)
    missing: dict[int, str] = dataclasses.field(default_factory=dict)


def measure(
    workdir: Workdir,
    net: PackNet,
    chosen: Sequence[StateInfo],
    places: Mapping[str, str],
    *,
    data_dir: str | None = None,
    batch_size: int = 32,
    worst: int = 12,
    progress: Report = lambda done, total: None,
) -> Measured:
    """Evaluates every task that has test data, in every state that has it.

    Args:
        workdir: The workdir.
        net: The network of the last of the states.
        chosen: The states, oldest first.
        places: The data of some tasks, by name; by default the data that they
            were trained on.
        data_dir: Folder of prepared TFDS data sets.
        batch_size: Images of a batch.
        worst: How many of the worst recognized images to return for a task.
        progress: Called with the number of evaluations done, and of all.

    Raises:
        TaskError: If `places` names an unknown task.
        DataError: If data in `places` is missing or has other classes, or an
            image cannot be read.
    """
    for name in places:
        net.task(name)
    found = Measured()
    tests = {}
    for task in chosen[-1].tasks:
        test, why = None, "no head"
        if task.classes:
            test, why = test_data.find(task, places.get(task.name), data_dir)
        if test is None:
            found.missing[task.owner] = why
        else:
            tests[task.owner] = (task, test)
    if not tests:
        return found
    size = test_data.image_size_of(workdir)
    # Made once, so that images are decoded once for all states.
    memory = CACHE_BYTES // len(tests)
    tested = {
        owner: (
            *pair,
            test_data.batches(*pair, size, batch_size, cache_bytes=memory),
        )
        for owner, pair in tests.items()
    }
    pairs = [
        (state, owner)
        for state in reversed(chosen)
        for owner in sorted(tested)
        if owner <= state.number
    ]
    of_state, newest = net, chosen[-1].number
    loaded = newest
    for done, (state, owner) in enumerate(pairs, start=1):
        task, test, batches = tested[owner]
        if state.number != loaded:
            of_state = states.load(workdir, state.number, origin=False)[0]
            loaded = state.number
        of_state.activate(of_state.tasks[owner - 1].name)
        labels, scores = test_data.scores(of_state, batches, test)
        answers = np.argmax(scores, -1)
        found.accuracy[state.number, owner] = share_right(labels, answers)
        if state.number == newest:
            names = task.class_names or test.class_names
            found.recognition.append(
                Recognition(
                    task.name,
                    tuple(names),
                    confusion(labels, answers, len(names)),
                    _worst(task, test, size, labels, scores, worst),
                )
            )
        progress(done, len(pairs))
    return found


def _worst(
    task: PackedTask,
    test: Source,
    size: int,
    labels: np.ndarray,
    scores: np.ndarray,
    count: int,
) -> tuple[WorstImage, ...]:
    """Returns the images whose own class has the lowest scores."""
    own = scores[np.arange(len(labels)), labels]
    lowest = np.argsort(own, kind="stable")[:count]
    places = evaluation_order(test)[lowest]
    how = test_data.preprocessing_of(task, test)
    images = test.decoded(
        places, lambda image: evaluation_resize(image, size, how)
    )
    return tuple(
        WorstImage(
            test.describe(int(place)),
            np.asarray(pixels).astype(np.uint8),
            int(labels[i]),
            int(np.argmax(scores[i])),
            float(own[i]),
        )
        for place, i, pixels in zip(places, lowest, images, strict=True)
    )
