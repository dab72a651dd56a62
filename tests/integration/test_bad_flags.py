"""Bad flags end in one line that names them, and nothing is written."""

import pytest
from support.refusals import check_refused, contents
from support.tiny_runs import TINY

# A .keras file goes without the options of the small network.
OWN = ("--network_options=", "--weights=imagenet")

# What is wrong, the flags, and what the message has to name. Later flags
# replace the good ones that come before them.
FLAGS = [
    ("task_empty", ["--task="], ["Task name ''"]),
    ("task_slash", ["--task=a/b"], ["'a/b'"]),
    ("task_dots", ["--task=.."], ["'..'"]),
    ("task_space", ["--task=a b"], ["'a b'"]),
    ("task_long", ["--task=" + "x" * 65], ["x" * 65, "64"]),
    ("task_reserved", ["--task=serving_default"], ["'serving_default'"]),
    ("fraction_0", ["--prune_fraction=0"], ["prune_fraction", "'0'"]),
    ("fraction_1", ["--prune_fraction=1"], ["prune_fraction", "'1'"]),
    ("fraction_over", ["--prune_fraction=1.5"], ["prune_fraction", "1.5"]),
    ("fraction_minus", ["--prune_fraction=-0.5"], ["prune_fraction", "-0.5"]),
    ("fraction_nan", ["--prune_fraction=nan"], ["prune_fraction", "nan"]),
    ("fraction_word", ["--prune_fraction=half"], ["prune_fraction", "half"]),
    ("fraction_list", ["--prune_fraction=0.5,2"], ["prune_fraction", "'2'"]),
    (
        "fraction_share",
        ["--prune_fraction=equal_share"],
        ["equal_share", "planned_tasks"],
    ),
    (
        "planned_0",
        ["--prune_fraction=equal_share", "--planned_tasks=0"],
        ["--planned_tasks=0"],
    ),
    ("planned_alone", ["--planned_tasks=3"], ["--planned_tasks=3", "0.75"]),
    (
        "planned_word",
        ["--prune_fraction=equal_share", "--planned_tasks=three"],
        ["planned_tasks", "three"],
    ),
    ("base_0", ["--base_prune_fraction=0"], ["base_prune_fraction", "0"]),
    ("base_1", ["--base_prune_fraction=1"], ["base_prune_fraction", "1"]),
    ("base_over", ["--base_prune_fraction=2"], ["base_prune_fraction", "2"]),
    ("base_name", ["--base_task=a/b"], ["'a/b'"]),
    ("optimizer", ["--optimizer=adamm"], ["optimizer", "adamm"]),
    ("schedule", ["--schedule=linear"], ["schedule", "linear"]),
    ("scope", ["--scope=filter"], ["scope", "filter"]),
    ("granularity", ["--granularity=conv"], ["granularity", "conv"]),
    ("origin", ["--origin=one"], ["origin", "one"]),
    ("private", ["--private=yes"], ["private", "yes"]),
    ("precision", ["--precision=float8"], ["precision", "float8"]),
    ("recovery", ["--base_recovery=magic"], ["base_recovery", "magic"]),
    ("rate", ["--learning_rate=-0.1"], ["--learning_rate=-0.1"]),
    ("rate_0", ["--learning_rate=0"], ["--learning_rate=0"]),
    ("rate_nan", ["--learning_rate=nan"], ["--learning_rate=nan"]),
    ("rate_inf", ["--learning_rate=inf"], ["--learning_rate=inf"]),
    ("rate_word", ["--learning_rate=fast"], ["learning_rate", "fast"]),
    (
        "retrain_rate",
        ["--retrain_learning_rate=-1"],
        ["--retrain_learning_rate=-1"],
    ),
    ("decay", ["--weight_decay=-0.1"], ["--weight_decay=-0.1"]),
    ("base_rate", ["--base_learning_rate=-1"], ["--base_learning_rate=-1"]),
    ("epochs", ["--train_epochs=0"], ["--train_epochs=0"]),
    ("retrain_epochs", ["--retrain_epochs=-3"], ["--retrain_epochs=-3"]),
    ("gradual", ["--gradual_epochs=2"], ["--gradual_epochs=2"]),
    ("gradual_minus", ["--gradual_epochs=-1"], ["--gradual_epochs=-1"]),
    ("batch", ["--batch_size=0"], ["--batch_size=0"]),
    ("share_1", ["--validation_share=1"], ["--validation_share=1"]),
    ("share_minus", ["--validation_share=-1"], ["--validation_share=-1"]),
    ("seed", ["--seed=-1"], ["--seed=-1"]),
    ("replicas_0", ["--replicas=0"], ["--replicas=0"]),
    ("replicas_minus", ["--replicas=-2"], ["--replicas=-2"]),
    ("replicas_many", ["--replicas=100000"], ["100000 replicas"]),
    ("phases_word", ["--phases=train,finish"], ["--phases=train,finish"]),
    ("phases_order", ["--phases=pack,train"], ["--phases=pack,train"]),
    ("phases_twice", ["--phases=train,train"], ["--phases=train,train"]),
    ("phases_none", ["--phases="], ["--phases="]),
    ("phases_early", ["--phases=prune"], ["'colours'", "trained"]),
    ("model_name", ["--model_name=a/b"], ["'a/b'"]),
    ("misspelt", ["--lerning_rate=0.1"], ["lerning_rate"]),
    ("argument", ["train"], ["'train'"]),
    ("network", ["--network=mobilnet"], ["'mobilnet'", "mobilenet"]),
    ("network_none", ["--network="], ["--network="]),
    ("keras_file", ["--network=nowhere.keras"], ["nowhere.keras"]),
    (
        "keras_garbage",
        ["--network={files}/garbage.keras", *OWN],
        ["garbage.keras cannot be loaded"],
    ),
    (
        "keras_weights",
        ["--network={files}/small.keras", "--network_options="],
        ["--weights=none", "has its own weights"],
    ),
    (
        "keras_size",
        ["--network={files}/small.keras", *OWN],
        ["--image_size=16", "8 x 8"],
    ),
    ("option", ["--network_options=depth=3"], ["'depth'", "width"]),
    ("option_form", ["--network_options=width"], ["'width'", "NAME=VALUE"]),
    ("option_value", ["--network_options=width=0"], ["width=0"]),
    ("weights", ["--weights=nowhere.h5"], ["--weights=nowhere.h5"]),
    ("weights_cnn", ["--weights=imagenet"], ["--weights=imagenet", "cnn"]),
    (
        "weights_garbage",
        [
            "--network=mobilenet",
            "--network_options=alpha=0.25",
            "--image_size=32",
            "--weights={files}/garbage.weights.h5",
        ],
        ["garbage.weights.h5", "mobilenet"],
    ),
    (
        "weights_other",
        [
            "--network=mobilenet",
            "--network_options=alpha=0.25",
            "--image_size=32",
            "--weights={files}/other.weights.h5",
        ],
        ["other.weights.h5", "does not fit mobilenet"],
    ),
    ("size_0", ["--image_size=0"], ["--image_size=0"]),
    ("size_minus", ["--image_size=-32"], ["--image_size=-32"]),
    ("size_small", ["--image_size=4"], ["--image_size=4", "8"]),
    ("size_large", ["--image_size=100000"], ["--image_size=100000"]),
    ("size_word", ["--image_size=big"], ["image_size", "big"]),
    (
        "size_of_network",
        ["--network=densenet121", "--network_options=", "--image_size=9"],
        ["9 x 9", "--image_size"],
    ),
    ("data_missing", ["--data={files}/nowhere"], ["{files}/nowhere"]),
    ("data_empty", ["--data={files}/empty"], ["{files}/empty"]),
    ("data_flat", ["--data={files}/no_classes"], ["no_classes/train"]),
    ("data_no_images", ["--data={files}/no_images"], ["no_images/train"]),
    ("data_one_class", ["--data={files}/one"], ["{files}/one", "one class"]),
    ("data_file", ["--data={files}/file"], ["{files}/file"]),
    ("data_test_only", ["--data={files}/test_only"], ["test_only"]),
    ("data_few", ["--data={files}/few"], ["4 training images", "8"]),
    (
        "data_corrupt",
        ["--data={files}/corrupt"],
        ["{files}/corrupt/train/red/07.jpg"],
    ),
    (
        "data_corrupt_test",
        ["--data={files}/corrupt_test"],
        ["{files}/corrupt_test/test/red/01.jpg"],
    ),
    (
        "data_truncated",
        ["--data={files}/truncated"],
        ["{files}/truncated/train/blue/03.jpg"],
    ),
    ("data_cut", ["--data={files}/cut"], ["{files}/cut/train/red/09.jpg"]),
    ("data_npz", ["--data={files}/nowhere.npz"], ["nowhere.npz"]),
    ("data_npz_garbage", ["--data={files}/garbage.npz"], ["garbage.npz"]),
    ("data_npz_half", ["--data={files}/half.npz"], ["half.npz", "x_train"]),
    ("data_bundled", ["--data=bundled:nothing"], ["nothing"]),
    (
        "base_data",
        ["--network={files}/small.keras", "--image_size=8"]
        + [*OWN, "--base_recovery=data"],
        ["--base_recovery=data", "--base_data"],
    ),
    (
        "base_data_classes",
        ["--network={files}/small.keras", "--image_size=8"]
        + [*OWN, "--base_data={data}"],
        ["--base_data has 3 classes", "2"],
    ),
    (
        "base_is_task",
        ["--network={files}/small.keras", "--image_size=8"]
        + [*OWN, "--base_task=colours"],
        ["--task=colours", "--base_task"],
    ),
    ("workdir_empty", ["--workdir="], ["--workdir="]),
    ("workdir_file", ["--workdir={files}/file"], ["{files}/file"]),
    ("workdir_under", ["--workdir={files}/file/w"], ["{files}/file"]),
    ("workdir_proc", ["--workdir=/proc/packnet_tf"], ["/proc/packnet_tf"]),
    ("workdir_long", ["--workdir=/tmp/" + "y" * 300], ["yyyy"]),
]


@pytest.mark.parametrize(
    "flags, words", [c[1:] for c in FLAGS], ids=[c[0] for c in FLAGS]
)
def test_add_task_refuses(run_app, tmp_path, colours, files, flags, words):
    workdir = tmp_path / "w"
    before = contents(files)

    def fill(text):
        return text.replace("{files}", str(files)).replace(
            "{data}", str(colours)
        )

    ended = run_app(
        "add_task",
        f"--workdir={workdir}",
        "--task=colours",
        f"--data={colours}",
        *TINY,
        *map(fill, flags),
    )
    check_refused(ended, *map(fill, words))
    assert not workdir.exists()
    assert contents(files) == before


def test_an_unknown_task_is_named_with_close_ones(run_app, tmp_path):
    ended = run_app(
        "add_task", f"--workdir={tmp_path / 'w'}", "--task=flower", *TINY
    )
    check_refused(ended, "'flower'", "flowers")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("app", ["add_task", "prune", "retrain"])
@pytest.mark.parametrize("flag", ["workdir", "task"])
def test_required_flags_are_named(run_app, tmp_path, app, flag):
    given = {"workdir": tmp_path / "w", "task": "colours"}
    del given[flag]
    ended = run_app(app, *(f"--{n}={value}" for n, value in given.items()))
    check_refused(ended, f"--{flag}")
    assert not (tmp_path / "w").exists()


@pytest.mark.parametrize("app", ["prune", "retrain"])
def test_phases_need_a_trained_task(run_app, tmp_path, colours, app):
    ended = run_app(
        app,
        f"--workdir={tmp_path / 'w'}",
        "--task=colours",
        f"--data={colours}",
        *TINY,
    )
    check_refused(ended, "'colours'", "has not been trained")
    assert not (tmp_path / "w").exists()
