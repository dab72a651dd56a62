"""Tests of packnet_tf/data/registry.py: every task on TFDS's mock data.

TFDS makes up examples of a data set's own features; they are written by its
builder classes and read back as the real ones would be: no network.
"""

import io

import numpy as np
import pytest
from PIL import Image

from packnet_tf.data import (
    integrity,
    open_task,
    pipeline,
    registry,
    reopen,
)
from packnet_tf.data.images import random_draws
from packnet_tf.data.images.pixel_path import read_for_evaluation, working_image
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.errors import DataError

tfds = pytest.importorskip("tensorflow_datasets")
pytest.importorskip("importlib_resources")

BOX = (0.25, 0.5, 0.75, 1.0)
NAMES = [*registry.registered(), "permuted_mnist/7"]
IN_TFDS = [name for name in NAMES if registry.find(name).data]


def mock_examples(name):
    """Returns features of a TFDS data set and examples that TFDS made up."""
    with tfds.testing.mock_data(num_examples=6):
        builder = tfds.builder(name, data_dir="/nowhere")
        found = list(tfds.as_numpy(builder.as_dataset(split="train")))
        return builder.info.features, str(builder.version), found


def encoded(pixels):
    stream = io.BytesIO()
    image = Image.fromarray(pixels[..., 0] if pixels.shape[2] == 1 else pixels)
    image.save(stream, "PNG")
    return stream.getvalue()


def write(name, splits, data_dir):
    """Writes made-up examples of every class as the data set would be."""
    features, version, found = mock_examples(name)
    for example in found:
        for key, feature in features.items():
            if isinstance(feature, tfds.features.Image):
                example[key] = encoded(example[key])
            elif isinstance(feature, tfds.features.BBoxFeature):
                example[key] = tfds.features.BBox(*BOX)
        if "objects" in example:
            example["objects"] = [{"bbox": tfds.features.BBox(*BOX)}]
    classes = features["label"].num_classes

    def examples(part):
        for i in range(classes):
            yield i, {**found[i % len(found)], "label": i}

    with tfds.core.registered.skip_registration():
        builder = type(
            "Written",
            (tfds.core.GeneratorBasedBuilder,),
            {
                "__module__": __name__,
                "name": name,
                "VERSION": tfds.core.Version(version),
                "_info": lambda self: tfds.core.DatasetInfo(
                    builder=self, features=features
                ),
                "_split_generators": lambda self, _: {
                    part: self._generate_examples(part) for part in splits
                },
                "_generate_examples": lambda self, part: examples(part),
            },
        )
    builder(data_dir=str(data_dir)).download_and_prepare()


@pytest.fixture(scope="module")
def prepared(tmp_path_factory):
    """Returns a function from an entry to the folder with its data."""
    folder, done = tmp_path_factory.mktemp("tfds"), set()

    def make(entry):
        name = entry.data.removeprefix("tfds:")
        if name not in done:
            parts = [*entry.train.split("+"), *entry.test.split("+")]
            write(name, parts, folder)
            done.add(name)
        return folder

    return make


@pytest.mark.parametrize("name", IN_TFDS)
def test_every_task_reads_its_data(name, prepared):
    entry = registry.find(name)
    data = open_task(name, data_dir=prepared(entry))
    assert data.classes == entry.classes
    count = entry.classes * len(entry.train.split("+"))
    assert len(data.train) == count
    assert len(data.test) == entry.classes
    assert data.preprocessing == entry.preprocessing
    assert data.facts.preprocessing.box == (name in ("cubs", "cars"))
    if entry.labels:
        assert data.class_names == tuple(map(str, entry.labels))
    train = data.train.subset(np.arange(min(4, len(data.train))))
    (batch,) = pipeline.training(train, 28, len(train)).epoch(0)
    assert batch[0].shape == (len(train), 28, 28, 3)
    x, y = next(iter(pipeline.evaluation(data.test, 28, 4)))
    assert x.shape[1:] == (28, 28, 3) and int(y[0]) < data.classes
    again = reopen(data.name, data.facts.to_json(), data_dir=prepared(entry))
    assert again.facts == data.facts


@pytest.mark.parametrize("name", ["cubs", "cars"])
def test_boxes_are_cut_as_in_the_paper(name, prepared):
    entry = registry.find(name)
    data = open_task(name, data_dir=prepared(entry))
    full = np.asarray(Image.open(io.BytesIO(data.train.encoded(0))))
    height, width = full.shape[:2]
    top, bottom = round(height * 0.25), round(height * 0.75)
    expected = full[top:bottom, round(width * 0.5) :]
    (image,) = data.train.decoded(np.array([0]))
    assert np.array_equal(image, expected)
    # Squashed to the network's size, and mirrored at most.
    one = data.train.subset(np.array([0]))
    square = working_image(image, 24, data.preprocessing).numpy()
    for number in range(3):
        ((x, _),) = pipeline.training(one, 24, 1).epoch(number)
        found = x[0].numpy().astype(np.uint8)
        assert np.array_equal(found, square) or np.array_equal(
            found, square[:, ::-1]
        )


def test_the_papers_preprocessing():
    crop = Preprocessing(resize="short_side", crop="resized", flip=True)
    box = Preprocessing("squash", "none", flip=True, box=True)
    known = registry.registered()
    for name in ("imagenet", "places365", "flowers", "wikiart", "sketches"):
        assert known[name].preprocessing == crop
        assert crop.working_size(224) == 256
    for name in ("cubs", "cars"):
        assert known[name].preprocessing == box
        assert box.working_size(224) == 224
    assert known["flowers"].train == "train+validation"
    assert known["imagenet"].test == known["places365"].test == "validation"


def test_permuted_digits_are_all_permuted_the_same(prepared):
    folder = prepared(registry.find("mnist"))
    plain = open_task("mnist", data_dir=folder)
    one, two = (
        open_task(f"permuted_mnist/{seed}", data_dir=folder) for seed in (1, 2)
    )
    assert one.name == "permuted_mnist.1"
    order = np.random.RandomState(1).permutation(784)

    def test_pixels(data):
        return np.concatenate(
            [x for x, _ in pipeline.evaluation(data.test, 28, 4)]
        )

    straight = Preprocessing("squash", "none", flip=False)
    expected = np.concatenate(
        [x for x, _ in pipeline.evaluation(plain.test, 28, 4, straight)]
    )
    expected = expected.reshape(-1, 784, 3)[:, order].reshape(-1, 28, 28, 3)
    assert np.array_equal(test_pixels(one), expected)
    assert not np.array_equal(test_pixels(two), expected)
    ((x, _), *_) = pipeline.training(one.train, 28, 10).epoch(0)
    draws = random_draws.draw(0, 0, one.train.ids, one.train.labels)
    served = read_for_evaluation(
        one.train.encoded(int(draws.order[0])), 28, one.preprocessing
    )
    assert np.array_equal(x[0], served)


def test_superclasses_part_the_classes():
    labels = [
        label
        for name, entry in registry.registered().items()
        if name.startswith("cifar100_superclass.")
        for label in entry.labels
    ]
    assert sorted(labels) == list(range(100))


def test_a_part_of_mnist_from_an_npz_file(shared):
    where = str(shared / "data" / "mnist.npz")
    data = open_task("split_mnist/2", where)
    assert data.class_names == ("4", "5") and data.name == "split_mnist.2"
    assert len(data.train) == 4000 and set(data.test.labels) == {0, 1}
    integrity.check(data, 32)


@pytest.mark.parametrize("name", ["wikiart", "sketches"])
def test_tasks_that_are_not_in_tfds_say_where_they_are(name, image_folder):
    with pytest.raises(DataError, match="not in TFDS.*CLASS/") as caught:
        open_task(name)
    source = {"wikiart": "wikiart.org", "sketches": "TU-Berlin"}[name]
    assert source in str(caught.value)
    assert open_task(name, str(image_folder())).classes == 3


@pytest.mark.parametrize(
    "name, message",
    [
        ("split_mnist/5", "expected split_mnist/0..4"),
        ("split_mnist", "expected split_mnist/0..4"),
        ("permuted_mnist/\u00b2", "expected permuted_mnist/SEED with a seed"),
        ("permuted_mnist/x", "expected permuted_mnist/SEED with a seed"),
        ("permuted_mnist", "expected permuted_mnist/SEED with a seed"),
        ("cifar100_superclass/20", "expected cifar100_superclass/0..19"),
        ("superclass", "did you mean cifar100_superclass/0..19"),
        ("flower", "did you mean flowers"),
        ("zzz", "expected one of cars, cifar10"),
    ],
)
def test_unknown_names(name, message):
    with pytest.raises(DataError, match=message):
        open_task(name)


def test_only_entries_can_be_registered():
    with pytest.raises(DataError, match="takes a TaskEntry; received 'x'"):
        registry.register("x")


def test_other_slashes_are_left_alone():
    assert registry.task_name("a/b") == "a/b"
    assert registry.task_name("split_mnist/3") == "split_mnist.3"
    assert registry.task_name("tfds:a/b:1.2.0") == "a.b.1.2.0"


def test_data_without_the_classes_of_the_task():
    x = np.zeros((9, 28, 28), np.uint8)
    with pytest.raises(DataError, match="3 classes; expected the 2 of task"):
        open_task("split_mnist/4", (x, np.arange(9) % 3))


def test_table_names_every_task():
    table = registry.table()
    for name in ("imagenet", "wikiart", "split_mnist/0..4", "permuted_mnist/"):
        assert name in table
    assert "1,281,167" in table and "2,040" in table
    assert all(entry.needs for entry in registry.registered().values())


@pytest.mark.parametrize(
    "entry, message",
    [
        ({"labels": (1,)}, "the labels are .1,.; expected two or more"),
        ({"labels": (1, 1)}, "the labels are .1, 1.; expected two or more"),
        ({"labels": (0, -1)}, "the labels are .0, -1.; expected two or more"),
        ({"data": "folder", "test": ""}, "test='' is for data of TFDS"),
        ({"data": "a.npz", "train": "all"}, "train='all' is for data of TFDS"),
        ({"data": "folder", "image_key": "x"}, "image_key='x' is for data of"),
    ],
)
def test_what_an_entry_cannot_have_is_named(entry, message):
    with pytest.raises(DataError, match=f"TaskEntry 'own': {message}"):
        registry.TaskEntry("own", **{"data": "tfds:mnist", **entry})


@pytest.mark.parametrize("seed", [-1, 2**32])
def test_a_permutation_has_a_seed(seed):
    with pytest.raises(DataError, match=f"permutation={seed}: expected a seed"):
        Preprocessing(permutation=seed)
