"""Bad input ends in one line that names it, and a workdir stays as it is."""

import pytest
from support.refusals import check_refused, contents
from support.tiny_runs import make_images

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
    (
        "verify_empty",
        "verify",
        ["--workdir={files}/empty"],
        ["{files}/empty", "nothing to verify"],
    ),
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
        "verify": [],
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
