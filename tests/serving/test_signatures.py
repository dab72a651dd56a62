"""Signatures over all tasks, and those that take encoded images."""

import io

import keras
import numpy as np
import pytest
import tensorflow as tf
from PIL import Image
from support import tiny_nets

from packnet_tf.data import pipeline
from packnet_tf.data.images.pixel_path import READS_WEBP, read_for_evaluation
from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.data.sources.folder import FolderSource
from packnet_tf.model.packnet import PackNet
from packnet_tf.serving.image_bytes import pixels_of
from packnet_tf.serving.saved_model import export_saved_model
from packnet_tf.serving.signatures import signatures_of
from packnet_tf.task import Task

SIZE = tiny_nets.SIZE
SPEC = tf.TensorSpec([None, 2, 2, 3], tf.float32, name="images")
CLASSES = {"a": 3, "b": 5, "c": 2}
HOW = {
    "a": Preprocessing(resize="squash"),
    "b": Preprocessing(crop="none"),
}


@pytest.fixture(scope="module")
def path(tmp_path_factory):
    net = tiny_nets.packed_net(())
    for name, classes in CLASSES.items():
        names = [f"{name}{i}" for i in range(classes)]
        tiny_nets.add_packed(net, name, classes, class_names=tuple(names))
    return export_saved_model(
        net, tmp_path_factory.mktemp("serving") / "3", preprocessing=HOW
    )


@pytest.fixture(scope="module")
def served(path):
    return tf.saved_model.load(path)


def ask(served, signature, **inputs):
    found = served.signatures[signature](
        **{name: tf.constant(value) for name, value in inputs.items()}
    )
    return {name: value.numpy() for name, value in found.items()}


def picture(size=(40, 31), seed=0, mode="RGB"):
    """Returns a picture that compresses as photographs do."""
    random = np.random.default_rng(seed)
    pixels = random.integers(0, 256, (8, 8, 3), np.uint8)
    image = Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC)
    image = image.convert(mode)
    if mode == "RGBA":
        image.putalpha(image.convert("L"))
    return image


def encoded(format, mode="RGB", **options):
    stream = io.BytesIO()
    picture(mode=mode).save(stream, format, **options)
    return stream.getvalue()


FILES = {
    "jpeg": ("JPEG", "RGB", {}),
    "progressive": ("JPEG", "RGB", {"progressive": True}),
    "grey": ("JPEG", "L", {}),
    "cmyk": ("JPEG", "CMYK", {}),
    "png": ("PNG", "RGB", {}),
    "palette": ("PNG", "P", {}),
    "transparent": ("PNG", "RGBA", {}),
    "one_bit": ("PNG", "1", {}),
    "gif": ("GIF", "RGB", {}),
    "animated": (
        "GIF",
        "RGB",
        {"save_all": True, "append_images": [picture(seed=1)]},
    ),
    "webp": ("WEBP", "RGB", {}),
    "lossless": ("WEBP", "RGB", {"lossless": True}),
    "alpha": ("WEBP", "RGBA", {"lossless": True}),
    "lossy_alpha": ("WEBP", "RGBA", {}),
    "bmp": ("BMP", "RGB", {}),
}


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("task", CLASSES)
def test_files_of_any_kind_answer_as_evaluation_reads_them(served, task, kind):
    format, mode, options = FILES[kind]
    if format == "WEBP" and not READS_WEBP:
        pytest.skip("this TensorFlow does not decode WebP")
    content = encoded(format, mode, **options)
    pixels = read_for_evaluation(content, SIZE, HOW.get(task))
    expected = ask(served, task, images=pixels[None])
    found = ask(served, f"{task}_bytes", image_bytes=[content])
    assert found.keys() == expected.keys()
    for output, value in expected.items():
        assert np.array_equal(found[output], value), output
    assert found["logits"].tobytes() == expected["logits"].tobytes()


def test_a_batch_of_files_of_many_sizes_as_the_pipeline_reads_it(
    served, tmp_path
):
    sides = [(40, 31), (31, 40), (9, 80), (12, 12), (5, 5)]
    paths = [tmp_path / f"{number}.jpg" for number in range(len(sides))]
    for number, (size, path) in enumerate(zip(sides, paths, strict=True)):
        picture(size, number).save(path)
    source = FolderSource(paths, [0] * len(paths), ["all"], Preprocessing())
    ((pixels, _),) = pipeline.evaluation(
        source, SIZE, len(sides), preprocessing=HOW["a"]
    )
    files = [
        paths[number].read_bytes()
        for number in pipeline.evaluation_order(source)
    ]
    found = ask(served, "a_bytes", image_bytes=files)["logits"]
    expected = ask(served, "a", images=pixels)["logits"]
    assert found.tobytes() == expected.tobytes()
    assert len(np.unique(found, axis=0)) == len(sides)


def test_a_bad_image_is_named_by_its_row(served):
    good = encoded("JPEG")
    palette = encoded("BMP", "P")
    canvas = bytearray(encoded("GIF"))
    canvas[6:8] = (999).to_bytes(2, "little")  # Its frame is smaller.
    batch = [good, good[: len(good) // 2], good, b"", palette, b"hello"]
    batch.append(bytes(canvas))
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="image_bytes: row 1, 3, 4, 5, 6 "
    ):
        ask(served, "a_bytes", image_bytes=batch)
    # Nothing is left of it for the next call.
    assert ask(served, "a_bytes", image_bytes=[good])["logits"].shape == (1, 3)


def test_an_empty_batch_is_no_error():
    pixels = pixels_of(SIZE, Preprocessing())
    assert pixels(tf.constant([], tf.string)).shape == (0, SIZE, SIZE, 3)


@pytest.mark.parametrize("signature", [*CLASSES, "all_tasks", "auto"])
def test_a_batch_without_rows_is_refused(served, signature):
    preprocessing = tf.zeros([0, SIZE, SIZE, 3])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="images: a batch without rows"
    ):
        served.signatures[signature](images=preprocessing)


def test_files_of_no_image_are_refused(served):
    nothing = tf.zeros([0], tf.string)
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="a batch without rows"
    ):
        served.signatures["a_bytes"](image_bytes=nothing)


def test_no_rows_for_no_task_are_refused(served):
    nothing = {"images": np.zeros([0, SIZE, SIZE, 3], np.float32)}
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="images: a batch without rows"
    ):
        ask(served, "by_task", task=np.array([], bytes), **nothing)


@pytest.mark.parametrize("signature", ["a", "all_tasks", "auto", "by_task"])
@pytest.mark.parametrize("side", [SIZE - 1, 2 * SIZE])
def test_images_of_another_size_are_refused(served, signature, side):
    given = {"images": tf.zeros([2, side, side, 3])}
    if signature == "by_task":
        given["task"] = tf.constant(["a", "b"])
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match=rf"images: expected the shape \[batch, {SIZE}, {SIZE}, 3\]",
    ):
        served.signatures[signature](**given)


def test_permuted_pixels(tmp_path):
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "a")
    how = Preprocessing("squash", "none", False, permutation=3)
    served = tf.saved_model.load(
        export_saved_model(net, tmp_path / "1", preprocessing={"a": how})
    )
    stream = io.BytesIO()
    picture((28, 28)).save(stream, "PNG")
    content = stream.getvalue()
    pixels = read_for_evaluation(content, SIZE, how)[None]
    found = ask(served, "a_bytes", image_bytes=[content])["logits"]
    expected = ask(served, "a", images=pixels)["logits"]
    assert found.tobytes() == expected.tobytes()


def test_all_tasks_answer_one_batch(served):
    batch = tiny_nets.images(7)
    found = ask(served, "all_tasks", images=batch)
    assert sorted(found) == ["a_scores", "b_scores", "c_scores"]
    for name in CLASSES:
        expected = ask(served, name, images=batch)["scores"]
        assert found[f"{name}_scores"].tobytes() == expected.tobytes()


@pytest.mark.parametrize("asked", ["abcabca", "bbbbbbb", "ccccccb", "a"])
def test_each_row_is_answered_by_its_task(served, asked):
    batch = tiny_nets.images(len(asked))
    found = ask(served, "by_task", images=batch, task=list(asked))
    assert found["scores"].shape == found["classes"].shape == (len(asked), 5)
    for row, name in enumerate(asked):
        expected = ask(served, name, images=batch)
        width = CLASSES[name]
        scores, names = found["scores"][row], found["classes"][row]
        expected_row = expected["scores"][row]
        assert scores[:width].tobytes() == expected_row.tobytes()
        assert names[:width].tolist() == expected["classes"][row].tolist()
        assert not scores[width:].any()
        assert set(names[width:]) <= {b""}


def test_a_task_that_is_not_there_is_named(served):
    batch = tiny_nets.images(3)
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="row 1 asks for dogs, row 2 asks for  .*tasks are: a, b, c",
    ):
        ask(served, "by_task", images=batch, task=["a", "dogs", ""])
    with pytest.raises(
        tf.errors.InvalidArgumentError, match="one name for each"
    ):
        ask(served, "by_task", images=batch, task=["a"])


def test_auto_takes_the_most_certain_head(served):
    batch = tiny_nets.images(9, seed=3)
    found = ask(served, "auto", images=batch)
    scores = {n: ask(served, n, images=batch)["scores"] for n in CLASSES}
    highest = np.stack([scores[n].max(1) for n in CLASSES], 1)
    expected = [list(CLASSES)[i].encode() for i in highest.argmax(1)]
    assert found["task"].tolist() == expected
    assert np.array_equal(found["certainty"], highest.max(1))
    by_task = ask(served, "by_task", images=batch, task=found["task"])
    assert found["scores"].tobytes() == by_task["scores"].tobytes()
    assert np.array_equal(found["classes"], by_task["classes"])


def test_auto_chooses_row_by_row():
    def head(names, factor):
        @tf.function(input_signature=[SPEC], autograph=False)
        def answer(images):
            logits = images[:, 0, 0, : len(names)] * factor
            return {
                "logits": logits,
                "scores": tf.nn.softmax(logits),
                "classes": tf.tile([names], [tf.shape(logits)[0], 1]),
            }

        return answer

    answers = {
        "two": head(["x", "y"], 1.0),
        "three": head(["p", "q", "r"], 0.5),
    }
    tasks = [Task(n, i, 2 + i) for i, n in enumerate(answers)]
    auto = signatures_of(tasks, answers, SPEC)["auto"]
    batch = np.zeros((3, 2, 2, 3), np.float32)
    batch[0, 0, 0] = [9, 0, 0]
    batch[1, 0, 0] = [5, 5, 40]
    found = auto(tf.constant(batch))
    # The last row is undecided: .5 of two classes is more than .33 of three.
    assert found["task"].numpy().tolist() == [b"two", b"three", b"two"]
    assert found["classes"].numpy().tolist() == [
        [b"x", b"y", b""],
        [b"p", b"q", b"r"],
        [b"x", b"y", b""],
    ]
    scores = found["scores"].numpy()
    assert scores.argmax(1).tolist() == [0, 2, 0]
    assert scores[2].tolist() == [0.5, 0.5, 0.0]
    assert np.array_equal(found["certainty"], scores.max(1))


def test_views_over_all_tasks_have_the_same_bytes_where_sums_are_reordered(
    tmp_path,
):
    """A network whose bytes depend on what TensorFlow knows of its shapes."""
    from support.residual_net import SIZE, residual

    keras.utils.set_random_seed(0)
    net = PackNet(residual())
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "2"))
    stream = io.BytesIO()
    picture().save(stream, "PNG")
    content = stream.getvalue()
    pixels = read_for_evaluation(content, SIZE).numpy()
    for rows in (1, 7):
        batch = np.stack([pixels] * rows)
        found = ask(served, "all_tasks", images=batch)
        auto = ask(served, "auto", images=batch)
        for name in ("a", "b"):
            expected = ask(served, name, images=batch)
            scores = expected["scores"].tobytes()
            asked = [name] * rows
            by_task = ask(served, "by_task", images=batch, task=asked)
            assert by_task["scores"].tobytes() == scores
            assert found[f"{name}_scores"].tobytes() == scores
            if set(auto["task"]) == {name.encode()}:
                assert auto["scores"].tobytes() == scores
            of_bytes = ask(
                served, f"{name}_bytes", image_bytes=[content] * rows
            )
            assert of_bytes["scores"].tobytes() == scores


def test_tasks_that_do_not_classify_are_left_out(tmp_path):
    net = tiny_nets.packed_net(())
    tiny_nets.add_packed(net, "base", classes=0)
    tiny_nets.add_packed(net, "size", classes=1, activation="linear")
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "2"))
    assert "auto" not in served.signatures
    batch = tiny_nets.images(2)
    found = ask(served, "all_tasks", images=batch)
    assert sorted(found) == ["base_features", "size_scores"]
    with pytest.raises(tf.errors.InvalidArgumentError, match="tasks are: size"):
        ask(served, "by_task", images=batch, task=["base", "size"])
    features = ask(served, "base_bytes", image_bytes=[encoded("PNG")])
    assert features["features"].shape == (1, tiny_nets.FEATURES)


def test_a_network_of_other_inputs_has_one_signature_a_task(tmp_path):
    inputs = keras.Input((6,), name="row")
    net = PackNet(keras.Model(inputs, keras.layers.Dense(4)(inputs)))
    tiny_nets.add_packed(net, "a")
    served = tf.saved_model.load(export_saved_model(net, tmp_path / "1"))
    assert sorted(served.signatures) == ["a", "serving_default"]
