"""One byte or key of any file of a workdir is changed, and an app is run.

It works, with equal bytes, or refuses in one line that names what is wrong.
"""

import contextlib
import io
import zlib

import keras
import numpy as np
import pytest
from support.damaged_runs import APPS, SLOW, Copy, Made
from support.mutations import kind_of, mutated

from packnet_tf.errors import PackNetError
from packnet_tf.storage.workdir import Workdir

BLOCK, BLOCKS = 100, 5
KINDS = (
    "run.json",
    "names.json",
    "origin.npz",
    "manifest.json",
    "manifest.sha256",
    "net.keras",
    "probe.npz",
    "models.config",
    "saved_model.pb",
    "fingerprint.pb",
    "class_names.json",
    "float32.low",
    "float32.top",
    "float32.owners",
    "packnet.json",
    "packnet.sha256",
    "tf_serving_warmup_requests",
    "variables.index",
    "variables.data-00000-of-00001",
    "checkpoint.npz",
    "diverged.json",
    "lock",
    "events",
)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return Made(tmp_path_factory.mktemp("damaged"))


@pytest.fixture(scope="module")
def copy(made, tmp_path_factory):
    return Copy(made, tmp_path_factory.mktemp("copy"))


@pytest.fixture(scope="module")
def readers(made, copy):
    """The apps that read each kind of file, the quick ones ten times."""
    with contextlib.redirect_stdout(io.StringIO()):
        read = {app: copy.read_by(app, made) for app in APPS}
    return {
        kind: [
            app
            for app in APPS
            if kind in read[app]
            for _ in range(1 if app in SLOW else 10)
        ]
        for kind in KINDS
    }


def check(made, copy, kind, number, app):
    """Damages a file of the copy, runs an app on it, and mends the copy."""
    random = np.random.default_rng([zlib.crc32(kind.encode()), number])
    files = copy.files(kind)
    if not files:
        pytest.skip(f"no {kind} without tensorflow-serving-api")
    file = files[int(random.integers(len(files)))]
    content, what = mutated(file.read_bytes(), random)
    file.write_bytes(content)
    where = f"{app}: {file.relative_to(copy.path)}: {what} ({number})"
    try:
        with contextlib.redirect_stdout(io.StringIO()):
            getattr(made, app)(Workdir(copy.path), copy.folder)
    except PackNetError as error:
        assert "\n" not in str(error), where
        named = str(copy.folder) in str(error) or kind in str(error)
        assert named, f"{where}: {error}"
    except Exception as error:
        raise AssertionError(where) from error
    else:
        # A changed network is refused, so none has changed.
        assert kind == "net.keras" or copy.same_networks(), where
    finally:
        copy.restore()
        if number % 20 == 0:
            keras.backend.clear_session()


def test_every_file_is_damaged(made):
    there = {kind_of(p) for p in made.path.rglob("*") if p.is_file()}
    # TensorFlow Serving's package writes the requests.
    optional = {"tf_serving_warmup_requests"}
    assert {*KINDS} - optional <= there <= {*KINDS}


@pytest.mark.parametrize("kind", KINDS)
def test_an_app_refuses_a_damaged_file_or_works(made, copy, kind):
    app = APPS[zlib.crc32(kind.encode()) % len(APPS)]
    check(made, copy, kind, 0, app)


@pytest.mark.slow
@pytest.mark.parametrize("kind", KINDS)
def test_every_app_meets_a_damaged_file(made, copy, kind):
    for number, app in enumerate(APPS):
        check(made, copy, kind, BLOCK * BLOCKS + number, app)


@pytest.mark.slow
@pytest.mark.parametrize("block", range(BLOCKS))
@pytest.mark.parametrize("kind", KINDS)
def test_many_damaged_files(made, copy, readers, kind, block):
    """Each goes through an app that reads such files, in turn."""
    apps, failed = readers[kind], []
    for number in range(BLOCK * block, BLOCK * (block + 1) if apps else 0):
        try:
            check(made, copy, kind, number, apps[number % len(apps)])
        except AssertionError as error:
            failed.append(f"{error}\n  {error.__cause__!r:.1000}")
    assert not failed, "\n".join(failed)
