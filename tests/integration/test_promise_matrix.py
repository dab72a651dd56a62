"""The promise under every setting: a matrix that covers all pairs.

Each cell packs three tasks; the logits of the first two have the same bytes
after the later ones were trained, pruned, retrained and packed.
"""

import itertools
import pathlib

import keras
import numpy as np
import pytest
from support.promise_nets import NETWORKS, SIZE

from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.options import fractions
from packnet_tf.storage.golden import probe_logits

DOCUMENT = pathlib.Path(__file__).parents[2] / "docs" / "reliability.md"
# The base class, and those that are made of other optimizers: LossScale is a
# setting, and MultiOptimizer a name that `optimizer_of` knows.
_ROOTS = (
    keras.optimizers.Optimizer,
    keras.optimizers.LossScaleOptimizer,
    getattr(keras.optimizers, "MultiOptimizer", None),
)
# Whatever classes Keras has.
OPTIMIZERS = sorted(
    name
    for name, value in vars(keras.optimizers).items()
    if isinstance(value, type)
    and issubclass(value, keras.optimizers.Optimizer)
    and value not in _ROOTS
)
if hasattr(keras.optimizers, "MultiOptimizer"):
    OPTIMIZERS.append("MultiOptimizer")
FACTORS = {
    "optimizer": OPTIMIZERS,
    "setting": [
        "as it comes",
        "decoupled decay",
        "L2 regularizer",
        "global clipping",
        "constraint",
        "LossScale",
        "gradual pruning",
    ],
    "precision": ["float32", "mixed_float16", "mixed_bfloat16"],
    "replicas": [1, 2],
    "private": ["per_task", "frozen"],
    "fit": ["no images", "reconstruction"],
    "reads": ["all", "base"],
    "network": list(NETWORKS),
}
SEED = 14


def pairs_of(cell):
    return set(itertools.combinations(enumerate(cell), 2))


def matrix():
    """Returns cells in which every two values of two factors meet.

    Greedy: a cell starts from a pair that is missing, and takes of each
    other factor the value that covers most of what is missing still.
    """
    random = np.random.default_rng(SEED)
    columns = list(FACTORS.values())
    missing = {
        ((i, a), (j, b))
        for (i, one), (j, two) in itertools.combinations(enumerate(columns), 2)
        for a, b in itertools.product(one, two)
    }
    cells = []
    while missing:
        chosen = dict(min(missing, key=str))
        for place in sorted(
            set(range(len(columns))) - set(chosen),
            key=lambda place: -len(columns[place]),
        ):
            values = list(columns[place])
            random.shuffle(values)

            def covers(value, place=place, chosen=chosen, missing=missing):
                pairs = (
                    tuple(sorted([(place, value), item], key=lambda x: x[0]))
                    for item in chosen.items()
                )
                return sum(pair in missing for pair in pairs)

            chosen[place] = max(values, key=covers)
        cell = tuple(chosen[place] for place in range(len(columns)))
        missing -= pairs_of(cell)
        cells.append(cell)
    return cells


CELLS = matrix()
# The ordinary run has a few; all of the rest are slow.
FEW = 3


def test_every_pair_is_covered_and_every_value_documented():
    covered = set().union(*map(pairs_of, CELLS))
    for (i, one), (j, two) in itertools.combinations(
        enumerate(FACTORS.values()), 2
    ):
        for a, b in itertools.product(one, two):
            assert ((i, a), (j, b)) in covered
    assert {"SGD", "Adam", "AdamW", "Ftrl", "Muon"} <= set(OPTIMIZERS)
    text = DOCUMENT.read_text()
    for values in FACTORS.values():
        for value in values:
            assert str(value) in text, value
    if "ScheduleFreeAdamW" in OPTIMIZERS and "MultiOptimizer" in OPTIMIZERS:
        # Older releases of Keras have fewer optimizers, so fewer cells.
        assert f"{len(CELLS)} cells" in text


def optimizer_of(name, setting):
    options = {"learning_rate": 0.01}
    if setting == "decoupled decay":
        options["weight_decay"] = 0.1
    elif setting == "global clipping":
        options["global_clipnorm"] = 0.05
    if name == "MultiOptimizer":
        made = keras.optimizers.MultiOptimizer(
            keras.optimizers.OptimizerMap(
                keras.optimizers.Adam(**options),
                {".*kernel": keras.optimizers.SGD(momentum=0.9, **options)},
            )
        )
    else:
        made = getattr(keras.optimizers, name)(**options)
    if setting == "LossScale":
        made = keras.optimizers.LossScaleOptimizer(made, initial_scale=2.0**8)
    return made


def kernel_options(setting):
    if setting == "L2 regularizer":
        return {"kernel_regularizer": keras.regularizers.L2(0.1)}
    if setting == "constraint":
        return {"kernel_constraint": keras.constraints.MaxNorm(0.5)}
    return {}


@pytest.fixture
def policy():
    before = keras.config.dtype_policy()
    yield keras.config.set_dtype_policy
    keras.config.set_dtype_policy(before)


@pytest.mark.filterwarnings("ignore:images=")
@pytest.mark.parametrize(
    "cell",
    [
        pytest.param(
            cell,
            marks=[] if number % (len(CELLS) // FEW) == 7 else pytest.mark.slow,
            id="-".join(map(str, cell)).replace(" ", "_"),
        )
        for number, cell in enumerate(CELLS)
    ],
)
def test_the_first_two_tasks_keep_their_bytes(cell, policy):
    (*cell, reads, network) = cell
    optimizer, setting, precision, replicas, private, fit = cell
    policy(precision)
    keras.utils.set_random_seed(SEED)
    random = np.random.default_rng(SEED)
    images = random.uniform(0, 255, (16, SIZE, SIZE, 3)).astype("float32")
    with make_strategy(replicas).scope():
        net = PackNet(
            NETWORKS[network](**kernel_options(setting)), private=private
        )

    def train():
        labels = random.integers(0, 3, len(images))
        net.fit(images, labels, batch_size=8, shuffle=False, verbose=0)

    kept = {}
    for name in ("one", "two", "three"):
        seed = len(net.tasks)
        net.add_task(name, 3, origin="random", seed=seed, reads=reads)
        net.compile(
            optimizer_of(optimizer, setting), "sparse_categorical_crossentropy"
        )
        start = [np.asarray(k.variable) for k in net.masked_kernels()]
        train()
        moved = [np.asarray(k.variable) for k in net.masked_kernels()]
        # What is tested is a network that does train.
        assert any((a != b).any() for a, b in zip(start, moved, strict=True))
        if setting == "gradual pruning":
            for fraction in fractions.gradual_fractions(0.5, 2):
                net.prune_to(fraction)
                train()
        if setting != "gradual pruning" or fit == "reconstruction":
            net.prune(0.5, images=images if fit == "reconstruction" else None)
            train()
        net.pack()
        logits = probe_logits(net, images)
        for older, before in kept.items():
            assert logits[older].tobytes() == before, (older, name)
        # Equal bytes of what is not a number would say nothing.
        assert np.isfinite(logits[name]).all(), name
        kept[name] = logits[name].tobytes()
    assert len(set(kept.values())) == 3
