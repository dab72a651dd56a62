import shutil

import numpy as np
import pytest
import tiny_nets

from packnet_tf import machine, states, verification
from packnet_tf.publish import publish
from packnet_tf.workdir import Workdir


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    workdir = Workdir(tmp_path_factory.mktemp("verification") / "w")
    net = tiny_nets.packed_net(())
    for name in ("a", "b"):
        tiny_nets.add_packed(net, name)
        state = states.commit(workdir, net, probe_images=tiny_nets.images(2))
    publish(workdir, state, model_name="net")
    return workdir


@pytest.fixture
def workdir(made, tmp_path):
    shutil.copytree(made.path, tmp_path / "w")
    return Workdir(tmp_path / "w")


def _failed(workdir):
    report = verification.verify(workdir)
    assert not report.ok and "FAILED" in str(report)
    return [finding.text for finding in report.findings if not finding.ok]


def test_what_is_as_it_was_passes(workdir):
    report = verification.verify(workdir)
    assert report.ok, str(report)
    probes = [f for f in report.findings if f.text == "probe, same bytes"]
    assert len(probes) == 3
    assert any("serving" in f.subject for f in report.findings)


def test_a_flipped_byte_names_its_file(workdir):
    random = np.random.default_rng(0)
    files = [
        path
        for top in (workdir.states_path, workdir.serving_path)
        for path in sorted(top.rglob("*"))
        if path.is_file() and path.name != "models.config"
    ]
    for path in files:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[random.integers(len(bad))] ^= 1 << random.integers(8)
        path.write_bytes(bytes(bad))
        if workdir.states_path in path.parents:
            findings = verification._check_state(
                workdir, workdir.states_path / path.parent.name
            )
            texts = [f.text for f in findings if not f.ok]
        else:
            texts = verification.seals.check_seal(
                workdir.serving_path / "net" / "2"
            )
        assert len(texts) == 1 and path.name in texts[0], path
        path.write_bytes(good)
    assert verification.verify(workdir).ok


def test_one_bad_state_does_not_hide_the_others(workdir):
    (workdir.states_path / "001-a" / "manifest.json").unlink()
    (workdir.states_path / "002-b" / "more").touch()
    one, two = _failed(workdir)
    assert "manifest.json" in one and "more" in two


def test_other_bytes_are_a_failure_on_the_same_machine_alone(
    workdir, monkeypatch
):
    real = verification.probe_logits

    def off(net, images):
        return {name: v + 1e-6 for name, v in real(net, images).items()}

    monkeypatch.setattr(verification, "probe_logits", off)
    texts = _failed(workdir)
    assert all("largest difference" in text for text in texts)
    facts = machine.machine_facts()
    monkeypatch.setattr(
        machine, "machine_facts", lambda: {**facts, "cpus": 999}
    )
    report = verification.verify(workdir)
    assert report.ok
    assert "another machine: cpus" in str(report)
