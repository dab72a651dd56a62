"""Which state `roll_back` goes to."""

import pytest
from support import tiny_nets

from packnet_tf.errors import StateError
from packnet_tf.workflow import undo


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("back") / "w", ("a", "b", "c")
    )


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def names_of(workdir):
    return [state.name for state in workdir.states()]


@pytest.mark.parametrize("which", [3, "3", "003"])
def test_a_number_is_no_name(workdir, which):
    undo.rename_task(workdir, "a", "3")
    undo.roll_back(workdir, which)
    assert names_of(workdir) == ["3", "b", "c"]
    # Where no state has that number, it may be a name.
    undo.roll_back(workdir, 2)
    undo.roll_back(workdir, "3")
    assert names_of(workdir) == ["3"]


def test_a_name_is_found_behind_damaged_states(workdir):
    (workdir.states_path / "002-b" / "manifest.sha256").unlink()
    (workdir.states_path / "003-c" / "manifest.json").write_text("{")
    with pytest.raises(StateError, match="no packed state 'b'.*: 001-a"):
        undo.roll_back(workdir, "b")
    undo.roll_back(workdir, "a")
    assert names_of(workdir) == ["a"]
