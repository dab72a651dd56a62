"""Bad input ends in one line that names the thing, and changes nothing."""

import hashlib
import os
import pathlib
import subprocess
import sys

import keras
import numpy as np
import pytest
from support import ROOT
from support.tiny_runs import TINY, make_images

SECONDS = 30
# A .keras file goes without the options of the small network.
OWN = ("--network_options=", "--weights=imagenet")


def contents(folder):
    """Returns the digest of every file below a folder, by its path."""
    return {
        str(path): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(pathlib.Path(folder).rglob("*"))
        if path.is_file()
    }


def check_refused(ended, *words):
    """Checks for one line of error with all the words, and no traceback."""
    assert ended.code not in (0, None), ended.stdout + ended.stderr
    assert "Traceback" not in ended.stderr + ended.stdout
    lines = [line for line in ended.stderr.splitlines() if line.strip()]
    if lines[0].startswith("FATAL Flags parsing error:"):
        # absl's own: the error, and a line on --help.
        assert len(lines) <= 3
        message = " ".join(lines)
    else:
        assert len(lines) == 1, ended.stderr
        message = lines[0]
        assert message.startswith("error: ")
    for word in words:
        assert str(word) in message, message
    assert ended.seconds < SECONDS


@pytest.fixture(scope="module")
def files(tmp_path_factory, colours):
    """Inputs that are wrong in one way each, by name."""
    folder = tmp_path_factory.mktemp("wrong")
    (folder / "empty").mkdir()
    (folder / "no_classes" / "train").mkdir(parents=True)
    (folder / "no_images" / "train" / "a").mkdir(parents=True)
    (folder / "no_images" / "train" / "b").mkdir(parents=True)
    make_images(folder / "one", classes=("only",), train=2, test=1)
    make_images(folder / "two", classes=("red", "blue"), train=10, test=2)
    make_images(folder / "few", classes=("red", "blue"), train=2, test=1)
    for name in ("corrupt", "truncated", "cut", "corrupt_test"):
        make_images(folder / name, classes=("blue", "red"), train=10)
    bad = folder / "corrupt" / "train" / "red" / "07.jpg"
    bad.write_bytes(b"\xff\xd8\xff\xe0 this is no JPEG")
    bad = folder / "corrupt_test" / "test" / "red" / "01.jpg"
    bad.write_bytes(b"")
    cut = folder / "truncated" / "train" / "blue" / "03.jpg"
    cut.write_bytes(cut.read_bytes()[:300])
    cut = folder / "cut" / "train" / "red" / "09.jpg"
    cut.write_bytes(cut.read_bytes()[:-40])
    make_images(folder / "test_only", train=0).joinpath("train").rename(
        folder / "unused"
    )
    (folder / "file").write_text("a file, not a folder")
    (folder / "garbage.weights.h5").write_bytes(b"no weights at all")
    (folder / "garbage.npz").write_bytes(b"no arrays at all")
    (folder / "garbage.keras").write_bytes(b"no network at all")
    np.savez(folder / "half.npz", x_train=np.zeros((4, 8, 8), np.uint8))
    small = keras.Sequential(
        [keras.Input((8, 8, 3)), keras.layers.Flatten(), keras.layers.Dense(2)]
    )
    small.save(folder / "small.keras")
    small.save_weights(folder / "other.weights.h5")
    return folder


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
        ["--weights=none", "brings its own weights"],
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


# With a workdir that has one packed task, colours.
PACKED = [
    ("network", "add_task", ["--network=resnet50"], ["network='cnn'"]),
    ("size", "add_task", ["--image_size=24"], ["image_size=16"]),
    ("options", "add_task", ["--network_options=width=5"], ["width"]),
    ("private", "add_task", ["--private=frozen"], ["private"]),
    ("origin", "add_task", ["--prune_fraction=0"], ["prune_fraction"]),
    ("early", "prune", [], ["'more'", "has not been trained"]),
    ("evaluate_task", "evaluate", ["--data=birds={data}"], ["'birds'"]),
    ("evaluate_form", "evaluate", ["--data=colours"], ["--data=colours"]),
    ("evaluate_form2", "evaluate", ["--data=={data}"], ["--data=="]),
    (
        "evaluate_twice",
        "evaluate",
        ["--data=colours={data}", "--data=colours={data}"],
        ["'colours'", "twice"],
    ),
    (
        "evaluate_missing",
        "evaluate",
        ["--data=colours={files}/nowhere"],
        ["{files}/nowhere"],
    ),
    (
        "evaluate_classes",
        "evaluate",
        ["--data=colours={files}/two"],
        ["2 classes", "'colours'"],
    ),
    (
        "evaluate_corrupt",
        "evaluate",
        ["--data=colours={files}/corrupt_test3"],
        ["{files}/corrupt_test3/test/red/01.jpg"],
    ),
    ("evaluate_batch", "evaluate", ["--batch_size=0"], ["--batch_size=0"]),
    ("evaluate_replicas", "evaluate", ["--replicas=0"], ["--replicas=0"]),
    ("evaluate_state", "evaluate", ["--state=7"], ["7", "001-colours"]),
    ("predict_task", "predict", ["--task=birds"], ["'birds'", "colours"]),
    ("predict_top", "predict", ["--top=0"], ["--top=0"]),
    ("predict_minus", "predict", ["--top=-1"], ["--top=-1"]),
    ("predict_none", "predict", ["--images={files}/nowhere.jpg"], ["nowhere"]),
    ("predict_empty", "predict", ["--images={files}/empty"], ["empty"]),
    ("predict_file", "predict", ["--images={files}/file"], ["{files}/file"]),
    (
        "predict_corrupt",
        "predict",
        ["--images={files}/corrupt/train/red"],
        ["red/07.jpg"],
    ),
    ("predict_state", "predict", ["--state=birds"], ["'birds'"]),
    ("inspect_state", "inspect", ["--state=9"], ["9", "001-colours"]),
    ("inspect_share", "inspect", ["--prune_fraction=1"], ["prune_fraction"]),
    (
        "export_task",
        "export",
        ["--task=birds", "--output={files}/new"],
        ["'birds'", "colours"],
    ),
    ("export_output", "export", ["--task=colours"], ["--output"]),
    ("export_state", "export", ["--state=9"], ["9", "001-colours"]),
    ("export_version", "export", [], ["packnet/1", "exists already"]),
    (
        "export_over",
        "export",
        ["--output={files}/empty"],
        ["{files}/empty", "exists already"],
    ),
    (
        "export_over_task",
        "export",
        ["--task=colours", "--output={files}/file"],
        ["{files}/file", "exists already"],
    ),
    ("export_all", "export", ["--format=keras"], ["--format=keras", "--task"]),
    (
        "export_format",
        "export",
        ["--task=colours", "--output={files}/new", "--format=jpg"],
        ["--format=jpg", "litert"],
    ),
    (
        "export_layout",
        "export",
        [
            "--task=colours",
            "--output={files}/new",
            "--serving_layout=on_the_fly",
        ],
        ["--serving_layout", "--task"],
    ),
    ("export_stable", "export", ["--stable=7"], ["version 7", "are: 1"]),
    (
        "export_stable_state",
        "export",
        ["--stable=1", "--state=1"],
        ["--state", "--stable"],
    ),
    (
        "export_name",
        "export",
        ["--stable=1", "--model_name=other"],
        ["other", "--model_name"],
    ),
]


@pytest.mark.parametrize(
    "app, flags, words", [c[1:] for c in PACKED], ids=[c[0] for c in PACKED]
)
def test_a_workdir_stays_as_it_is(
    run_app, packed, colours, files, app, flags, words
):
    hurt = files / "corrupt_test3"
    if not hurt.exists():
        make_images(hurt)
        (hurt / "test" / "red" / "01.jpg").write_bytes(b"\xff\xd8 no JPEG")

    def fill(text):
        return text.replace("{files}", str(files)).replace(
            "{data}", str(colours)
        )

    good = {
        "add_task": ["--task=more", f"--data={colours}", "--batch_size=8"],
        "prune": ["--task=more", f"--data={colours}", "--batch_size=8"],
        "evaluate": [],
        "predict": ["--task=colours", f"--images={colours}/test/red"],
        "inspect": [],
        "export": [],
    }[app]
    before = contents(packed)
    ended = run_app(app, f"--workdir={packed}", *good, *map(fill, flags))
    check_refused(ended, *map(fill, words))
    assert contents(packed) == before


@pytest.mark.parametrize(
    "app, flags",
    [
        ("evaluate", []),
        ("inspect", []),
        ("export", []),
        ("predict", ["--task=colours", "--images=image.jpg"]),
    ],
)
def test_readers_need_a_workdir(run_app, tmp_path, app, flags):
    ended = run_app(app, *flags)
    check_refused(ended, "--workdir")
    ended = run_app(app, f"--workdir={tmp_path / 'w'}", *flags)
    check_refused(ended, f"--workdir={tmp_path / 'w'}", "add_task")
    if app == "predict":
        return
    ended = run_app(app, f"--workdir={tmp_path}", *flags)
    check_refused(ended, tmp_path, "no packed state")
    assert contents(tmp_path) == {}


@pytest.mark.parametrize(
    "flags, words",
    [
        (["--task=a/b"], ["'a/b'"]),
        (["--task=colours", "--optimizer=none"], ["optimizer"]),
        (["--task=colours", "--data=/nowhere/at/all"], ["/nowhere/at/all"]),
    ],
)
def test_a_process_of_its_own_says_so_in_time(tmp_path, flags, words):
    command = [sys.executable, "apps/add_task.py", f"--workdir={tmp_path}/w"]
    ended = subprocess.run(
        [*command, *TINY, *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    ended.code, ended.seconds = ended.returncode, 0
    check_refused(ended, *words)
    assert not (tmp_path / "w").exists()


ENDS = """
import os, signal, sys
# A shell's background jobs are started to ignore it.
signal.signal(signal.SIGINT, signal.default_int_handler)
sys.path[0] = os.getcwd()
from apps import process

def interrupted():
    os.kill(os.getpid(), signal.SIGINT)
    signal.pause()

def no_memory():
    process.load()
    import tensorflow as tf
    raise tf.errors.ResourceExhaustedError(None, None, "OOM when allocating x")

def odd_name():
    print(os.fsdecode(b"caf\\xe9.jpg"))

process.run(globals()[sys.argv.pop()])
"""


@pytest.mark.parametrize(
    "how, code, words",
    [
        ("interrupted", 130, ["interrupted", "Run the same command again"]),
        ("no_memory", 1, ["OOM when allocating x", "--batch_size"]),
    ],
)
def test_it_ends_in_one_line_that_says_what_to_run_next(how, code, words):
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, how],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    assert ended.returncode == code
    (line,) = ended.stderr.strip().splitlines()
    for word in [*words, "what is finished is kept"]:
        assert word in line


def test_names_that_are_no_text_are_printed_all_the_same():
    ended = subprocess.run(
        [sys.executable, "-c", ENDS, "odd_name"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=SECONDS,
        env={**os.environ, "PYTHONIOENCODING": "utf-8:strict"},
    )
    assert (ended.returncode, ended.stdout) == (0, "caf\\udce9.jpg\n")
