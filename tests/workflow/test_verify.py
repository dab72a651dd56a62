import os
import shutil
import zipfile

import numpy as np
import pytest
from support import tiny_nets

from packnet_tf.options.network import NetworkOptions
from packnet_tf.options.serving import ServingConfig
from packnet_tf.serving.models_config import write_config
from packnet_tf.serving.versions import publish, recover
from packnet_tf.storage import checksums, environment, manifest, states
from packnet_tf.storage.network_file import write_network
from packnet_tf.workflow import verify


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return tiny_nets.packed_workdir(
        tmp_path_factory.mktemp("verification") / "w",
        ("a", "b"),
        probe_images=tiny_nets.images(2),
        serve=("b",),
    )


@pytest.fixture
def workdir(made, tmp_path):
    return tiny_nets.copy_of(made, tmp_path / "w")


def _failed(workdir):
    report = verify.verify(workdir)
    assert not report.ok and "FAILED" in str(report)
    return [finding.text for finding in report.findings if not finding.ok]


def test_what_is_as_it_was_passes(workdir):
    report = verify.verify(workdir)
    assert report.ok, str(report)
    probes = [f for f in report.findings if f.text == "probe, same bytes"]
    served = str(workdir.serving_path)
    # Tasks a, then a and b, by their networks and by the SavedModel of both.
    assert len(probes) == 5
    assert sum(f.subject.startswith(served) for f in probes) == 2


def test_a_flipped_byte_names_its_file(workdir, monkeypatch):
    """200 seeded places; each archive member and header is among them."""
    random = np.random.default_rng(0)
    places = []
    for top in (workdir.states_path, workdir.serving_path):
        for path in sorted(p for p in top.rglob("*") if p.is_file()):
            if path.name == "models.config":
                continue
            places.append((path, 0))
            places.append((path, path.stat().st_size - 1))
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for member in archive.infolist():
                        start = member.header_offset
                        places.append((path, start + 5))
                        places.append((path, start + 90))
    files = sorted({path for path, _ in places})
    while len(places) < 200:
        path = files[random.integers(len(files))]
        places.append((path, int(random.integers(path.stat().st_size))))
    assert len(places) == 200

    def stop(*_):
        raise AssertionError("asked, although a file differs")

    # Damage is found before anything is computed with the content.
    monkeypatch.setattr(verify, "load_outside", stop)
    monkeypatch.setattr(verify.golden, "replay_saved_model", stop)
    for path, place in places:
        good = path.read_bytes()
        bad = bytearray(good)
        bad[place] ^= 1 << int(random.integers(8))
        path.write_bytes(bytes(bad))
        if workdir.states_path in path.parents:
            folder = workdir.states_path / path.parent.name
            findings = verify._check_state(workdir, folder)
        else:
            folder = workdir.serving_path / "net" / "2"
            findings = verify._check_saved_model(workdir, folder)
        texts = [finding.text for finding in findings if not finding.ok]
        assert len(texts) == 1 and path.name in texts[0], (path, place)
        path.write_bytes(good)
    monkeypatch.undo()
    assert verify.verify(workdir).ok


def test_the_origin_is_among_the_files(workdir):
    content = bytearray(workdir.origin_path.read_bytes())
    content[len(content) // 2] ^= 4
    workdir.origin_path.write_bytes(bytes(content))
    assert all("origin.npz" in text for text in _failed(workdir))


def test_masks_and_heads_are_compared_behind_fitting_digests(workdir):
    # All files fit their digests; a free weight of the network is not 0.
    folder = workdir.states_path / "002-b"
    net, _ = states.load(workdir)
    kernel = net.masked_kernels()[0]
    value, mask = np.asarray(kernel.variable), np.asarray(kernel.mask)
    changed = value.copy()
    changed[tuple(np.argwhere(mask == 0)[0])] = -0.0
    kernel.variable.assign(changed)
    write_network(net, folder / "net.keras")
    _seal(folder, checksums.read_sealed_json(folder, "manifest"))
    (text,) = _failed(workdir)
    assert "net.keras is damaged: free weights of" in text


def _forge(workdir, change=None, **arrays):
    """Writes a state again, with digests that fit."""
    folder = workdir.states_path / "002-b"
    record = checksums.read_sealed_json(folder, "manifest")
    if change is not None:
        change(record)
    if arrays:
        with np.load(folder / "probe.npz") as old:
            arrays = {**old, **arrays}
        arrays = {k: v for k, v in arrays.items() if v is not None}
        np.savez(folder / "probe.npz", **arrays)
    _seal(folder, record)


def _seal(folder, record):
    """Writes a manifest whose digests are those of the files."""
    files = {n: checksums.digest_of_file(folder / n) for n in manifest.FILES}
    checksums.write_sealed_json(folder, "manifest", {**record, "files": files})


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("classes", 2),
        ("class_names", ["x", "y", "z"]),
        ("activation", "sigmoid"),
        ("claimed", []),
    ],
)
def test_a_manifest_says_of_tasks_what_the_network_does(workdir, key, value):
    _forge(workdir, lambda record: record["tasks"][0].update({key: value}))
    text, *_ = _failed(workdir)
    assert f"manifest.json is damaged: it has other {key} of task 'a'" in text


@pytest.mark.parametrize(
    ("arrays", "match"),
    [
        ({"logits_1": None}, "probe.npz holds logits of b, expected a, b"),
        ({"images": tiny_nets.images(2, size=7)}, "probe.npz cannot be asked"),
        ({"images": np.array(["x"])}, "probe.npz cannot be asked"),
    ],
)
def test_a_probe_of_another_kind_is_a_finding(workdir, arrays, match):
    _forge(workdir, **arrays)
    assert any(match in text for text in _failed(workdir))


def test_a_probe_of_an_unknown_program_is_a_finding(workdir):
    _forge(workdir, lambda record: record.update(probe="some"))
    assert any("has a probe of 'some'" in text for text in _failed(workdir))


def test_a_saved_model_that_answers_otherwise_is_found(workdir, monkeypatch):
    real = verify.golden.read_probe

    def other(state):
        images, kept = real(state)
        return images, {name: v + np.float32(1) for name, v in kept.items()}

    monkeypatch.setattr(verify.golden, "read_probe", other)
    texts = _failed(workdir)
    assert len(texts) == 5
    assert all("largest difference of the logits 1" in t for t in texts)


def test_a_saved_model_of_no_state_is_named(workdir):
    os.rename(workdir.states_path / "002-b", workdir.path / "away")
    (text,) = _failed(workdir)
    assert "net/2 is of no packed state" in text


def test_a_state_that_is_missing_with_its_version_is_named(tmp_path):
    workdir = tiny_nets.packed_workdir(tmp_path / "w", ("a", "b", "c"))
    shutil.rmtree(workdir.states_path / "002-b")
    shutil.rmtree(workdir.serving_path / "net" / "2")
    texts = _failed(workdir)
    assert any("has no state 002; restore it" in text for text in texts)
    shutil.rmtree(workdir.states_path / "001-a")
    shutil.rmtree(workdir.serving_path / "net" / "1")
    # A network may have come with all of its tasks, but for the apps' own.
    assert not any(
        "has no state" in f.text for f in verify.verify(workdir).findings
    )
    workdir.create(NetworkOptions(image_size=tiny_nets.SIZE))
    texts = [t for t in _failed(workdir) if "has no state" in t]
    assert ["001" in t for t in texts] == [True, False]


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"versions: 2", b"versions: 3"),
        (b'name: "net"', b'name: "met"'),
        (b"value: 2", b"value: 9"),
        (b"tensorflow", b"tensorflop"),
        (b"}", b""),
    ],
)
def test_a_config_of_the_server_that_does_not_fit_is_named(workdir, old, new):
    file = workdir.serving_path / "net" / "models.config"
    content = file.read_bytes()
    file.write_bytes(content.replace(old, new, 1))
    (text,) = _failed(workdir)
    assert "models.config does not fit the versions beside it" in text
    recover(workdir, ServingConfig("net"))
    assert verify.verify(workdir).ok


def test_a_version_that_was_not_announced_yet_is_no_failure(workdir):
    # The command was interrupted between the two writes.
    folder = workdir.serving_path / "net"
    file = folder / "models.config"
    file.unlink()
    assert verify.verify(workdir).ok
    publish(workdir, workdir.states()[0], ServingConfig("net"))
    write_config(folder, [1], 1)
    assert verify.verify(workdir).ok
    recover(workdir, ServingConfig("net"))
    assert b"value: 2" in file.read_bytes()
    # Of two versions, only one can have been written just now.
    file.unlink()
    (text,) = _failed(workdir)
    assert "models.config does not fit" in text and "No such file" in text


def test_what_was_being_written_is_no_part_of_it(workdir):
    version = next(workdir.serving_path.glob("*/2"))
    left = version.with_name(".2.123.aside")
    shutil.copytree(version, left)
    next(left.glob("**/*.sha256")).unlink()
    report = verify.verify(workdir)
    assert report.ok, str(report)


def test_a_network_that_is_missing_is_named(workdir):
    (workdir.states_path / "002-b" / "net.keras").unlink()
    # By the state, and by the SavedModel, whose limit is its size.
    texts = _failed(workdir)
    assert len(texts) == 2 and all("002-b/net.keras" in t for t in texts)


def test_a_saved_model_without_assets_is_named(workdir):
    folder = workdir.serving_path / "net" / "2"
    shutil.rmtree(folder / "assets")
    for file in (folder / "assets.extra").glob("packnet.*"):
        file.unlink()
    tasks = workdir.newest().tasks
    checksums.seal_folder(folder, "0" * 64, tasks, "folded")
    (text,) = _failed(workdir)
    assert "net/2/assets: cannot be read (No such file" in text


@pytest.mark.parametrize("name", ["check_digests", "refuse_damaged"])
def test_a_state_that_goes_while_it_is_checked_is_skipped(
    workdir, monkeypatch, name
):
    shutil.rmtree(workdir.serving_path)
    two = workdir.states_path / "002-b"
    real = getattr(checksums, name)

    def check(path, *digests):
        result = real(path, *digests)
        if two in (path, path.parent) and two.exists():
            os.rename(two, two.with_name(".002-b.1.aside"))
        return result

    monkeypatch.setattr(checksums, name, check)
    report = verify.verify(workdir)
    assert report.ok and not two.exists()
    assert not any("002-b" in f.subject for f in report.findings)


def test_one_bad_state_does_not_hide_the_others(workdir):
    (workdir.states_path / "001-a" / "manifest.json").unlink()
    (workdir.states_path / "002-b" / "more").touch()
    one, two = _failed(workdir)
    assert "manifest.json" in one and "more" in two


def test_other_bytes_are_a_failure_on_the_same_machine_alone(
    workdir, monkeypatch
):
    real = verify.golden.probe_logits

    def off(net, images, program):
        found = real(net, images, program)
        return {name: v + np.float32(1e-6) for name, v in found.items()}

    monkeypatch.setattr(verify.golden, "probe_logits", off)
    texts = _failed(workdir)
    assert all("largest difference" in text for text in texts)
    facts = environment.machine_facts()
    monkeypatch.setattr(
        environment, "machine_facts", lambda: {**facts, "cpus": 999}
    )
    report = verify.verify(workdir)
    assert report.ok
    assert "another machine: cpus" in str(report)
