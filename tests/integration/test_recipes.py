"""Every recipe's flags are understood, and its smoke variant packs a task."""

import re

import pytest
from support import ROOT
from support.tiny_runs import make_images

from packnet_tf.storage.workdir import Workdir

FOLDER = ROOT / "recipes"
SHARED = ("paper", "smoke")
RECIPES = sorted(
    path.stem for path in FOLDER.glob("*.flags") if path.stem not in SHARED
)
# The quickest; the others build networks of many layers.
QUICK = "birds_cars_flowers"


@pytest.fixture(scope="module")
def colours(tmp_path_factory):
    """A tiny image folder."""
    folder = tmp_path_factory.mktemp("recipes") / "colours"
    return make_images(folder, ("blue", "red"), train=8, test=2)


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_says_where_it_is_from_and_what_to_expect(name):
    text = (FOLDER / f"{name}.flags").read_text()
    head = [line[1:].strip() for line in text.splitlines() if line[:1] == "#"]
    for word in ("Source: ", "Seeds: ", "Time: ", "Expected"):
        assert any(word in line for line in head), word
    assert f"--flagfile=recipes/{name}.flags" in text
    assert max(map(len, head)) <= 79


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[] if name == QUICK else [pytest.mark.slow])
        for name in RECIPES
        if name != "compare"
    ],
)
def test_the_smoke_variant_packs_a_task(name, run_app, colours, tmp_path):
    ended = run_app(
        "add_task",
        f"--flagfile=recipes/{name}.flags",
        "--flagfile=recipes/smoke.flags",
        f"--workdir={tmp_path / 'w'}",
        "--task=colours",
        f"--data={colours}",
    )
    assert ended.code == 0, ended.stderr
    (state,) = Workdir(tmp_path / "w").states()
    assert [task.name for task in state.tasks] == ["colours"]


@pytest.mark.slow
def test_the_smoke_variant_of_the_comparison(run_app, colours, tmp_path):
    ended = run_app(
        "compare",
        "--flagfile=recipes/compare.flags",
        "--flagfile=recipes/smoke.flags",
        f"--workdir={tmp_path / 'w'}",
        "--tasks=first,second",
        f"--data=first={colours}",
        f"--data=second={colours}",
        "--network=cnn",
        "--network_options=width=4",
        "--learning_rates=1e-3",
        "--seeds=0",
    )
    assert ended.code == 0, ended.stderr
    methods = re.findall(r"^(\w+) +0\.001 +1 ", ended.stdout, re.M)
    assert len(methods) == 11
