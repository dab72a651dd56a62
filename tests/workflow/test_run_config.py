"""What a workdir remembers of its network, whoever wrote it."""

import json

import pytest

from packnet_tf.errors import FlagError, StateError
from packnet_tf.options.network import NetworkOptions
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.run_config import network_options_of


@pytest.mark.parametrize(
    "facts",
    [
        {"network": 5},
        {"image_size": "large"},
        {"weights": None},
        {"image_size": -1},
    ],
)
def test_facts_of_another_kind_are_named(tmp_path, facts):
    workdir = Workdir(tmp_path)
    written = {"schema": 1, "facts": facts}
    workdir.run_path.write_text(json.dumps(written))
    line = f"run.json is damaged .*{next(iter(facts))}"
    with pytest.raises(StateError, match=line):
        network_options_of(workdir, {})


def test_facts_of_a_later_release_are_named(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.run_path.write_text('{"schema": 1, "facts": {"depth": 3}}')
    with pytest.raises(StateError, match="does not know: depth; use the rel"):
        network_options_of(workdir, {})


def test_what_is_given_has_to_be_what_was_begun(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.create(NetworkOptions(image_size=96))
    assert network_options_of(workdir, {}).image_size == 96
    with pytest.raises(StateError, match="image_size=96, now image_size=64"):
        network_options_of(workdir, {"image_size": 64})
    with pytest.raises(FlagError, match="image_size=-1"):
        network_options_of(workdir, {"image_size": -1})
