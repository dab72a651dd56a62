"""What a workdir remembers of its network, whoever wrote it."""

import pytest

from packnet_tf.errors import FlagError, StateError
from packnet_tf.storage.workdir import Workdir
from packnet_tf.workflow.run_config import network_options_of


@pytest.mark.parametrize(
    "facts", [{"network": 5}, {"image_size": "large"}, {"weights": None}]
)
def test_facts_of_another_kind_are_named(tmp_path, facts):
    workdir = Workdir(tmp_path)
    workdir.create(facts)
    with pytest.raises(StateError, match="run.json is damaged"):
        network_options_of(workdir, {})


def test_facts_out_of_range_are_named(tmp_path):
    workdir = Workdir(tmp_path)
    workdir.create({"image_size": -1})
    with pytest.raises(FlagError, match="image_size=-1"):
        network_options_of(workdir, {})
