"""Runs that fit what pruning leaves: resumed to the byte, refused, or off."""

import numpy as np
import pytest
from support.sessions import (
    SIZE,
    check_equal,
    options_of,
    pretrained,
    run,
    run_in_pieces,
)
from support.tiny_runs import make_images

from packnet_tf.errors import DataError
from packnet_tf.model.packnet import PackNet
from packnet_tf.model.replicas import make_strategy
from packnet_tf.networks import build
from packnet_tf.options.serving import ServingConfig
from packnet_tf.storage import states
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.fit_images import images_at
from packnet_tf.workflow.session import Session


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    """The options of a small network that comes with weights."""
    return pretrained(
        tmp_path_factory.mktemp("base") / "base.keras",
        base_prune_fraction=0.6,
        base_recovery="none",
    )


def test_the_base_task_keeps_more_of_its_answers(tmp_path, data, base):
    folder = make_images(tmp_path / "images", train=8, seed=7)
    pixels = images_at(str(folder), "old", 40, SIZE)
    with make_strategy(1).scope():
        network = build(base.network, image_size=SIZE)
    wanted = np.asarray(network.backbone(pixels))
    errors = []
    for fit in (True, False):
        folder = tmp_path / f"fit_{fit}"
        run(
            folder,
            data,
            network=base,
            phases=("train",),
            train_epochs=1,
            reconstruct=fit,
        )
        net, _ = states.load(Workdir(folder))
        found = np.asarray(net.features(pixels, training=False))
        errors.append(np.square(found - wanted).mean())
    assert errors[0] < 0.5 * errors[1]


@pytest.mark.slow
def test_a_killed_run_ends_with_the_same_bytes(
    tmp_path, monkeypatch, data, base
):
    how = {
        "network": base,
        "gradual_epochs": 0,
        "train_epochs": 1,
        "retrain_epochs": 1,
    }
    run(tmp_path / "whole", data, **how)
    pieces = run_in_pieces(monkeypatch, tmp_path / "w", data, "first", **how)
    assert pieces >= 2
    check_equal(tmp_path / "w", tmp_path / "whole")


def test_the_base_task_is_fitted_on_images_of_its_own(
    tmp_path, monkeypatch, data, base
):
    fitted_on = []
    prune = PackNet.prune

    def watch(net, *args, images=None, **how):
        fitted_on.append(images)
        return prune(net, *args, images=images, **how)

    monkeypatch.setattr(PackNet, "prune", watch)
    images = np.random.default_rng(0).uniform(0, 255, (70, SIZE, SIZE, 3))
    session = Session(
        Workdir(tmp_path / "w"), base, ServingConfig(), make_strategy(1)
    )
    options = options_of("first", phases=("train",), train_epochs=1)
    session.run(data["first"], options, base_images=images)
    assert fitted_on[0] is images


def test_images_without_labels_are_read_from_any_folder(tmp_path):
    folder = make_images(tmp_path / "a", train=3, test=1)
    found = images_at(str(folder), "old", 100, SIZE)
    assert found.shape == (12, SIZE, SIZE, 3)
    few = images_at(str(folder), "old", 5, SIZE)
    assert few.tobytes() == images_at(str(folder), "old", 5, SIZE).tobytes()
    assert len(few) == 5


def test_the_files_are_those_of_an_image_folder(tmp_path):
    folder = make_images(tmp_path / "a", train=3, test=1)
    expected = images_at(str(folder), "old", 100, SIZE)
    # As macOS and download managers leave them.
    (folder / "train" / "._0.png").write_bytes(b"attributes")
    (folder / ".cache").mkdir()
    (folder / ".cache" / "thumbnail.jpg").write_bytes(b"cut")
    found = images_at(str(folder), "old", 100, SIZE)
    assert found.tobytes() == expected.tobytes()
    (folder / "train" / "loop").symlink_to(folder)
    with pytest.raises(DataError, match="points to a folder that contains it"):
        images_at(str(folder), "old", 100, SIZE)


def test_a_folder_without_images_is_refused(tmp_path):
    with pytest.raises(DataError, match="--base_images=.* holds no images"):
        images_at(str(tmp_path), "old", 5, SIZE)


def test_a_file_that_is_no_image_is_named(tmp_path):
    (tmp_path / "one.jpg").write_bytes(b"nothing")
    with pytest.raises(DataError, match=r"--base_images: .*one\.jpg"):
        images_at(str(tmp_path), "old", 5, SIZE)


def test_few_images_are_a_line_of_the_run(tmp_path, data, base, capsys):
    run(tmp_path / "w", data, network=base, phases=("train",), train_epochs=1)
    assert "  note: images=: " in capsys.readouterr().out
