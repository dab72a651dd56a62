"""The weights inside a `.keras` file, read here and there."""

import io
import zipfile

import numpy as np
import pytest

from packnet_tf.untrusted.members import opened_weights

CONTENT = np.random.default_rng(0).bytes(10_000)


def archive(path, compression, extra=b""):
    with zipfile.ZipFile(path, "w", compression) as file:
        file.writestr("config.json", b"{}")
        info = zipfile.ZipInfo("model.weights.h5")
        info.compress_type, info.extra = compression, extra
        file.writestr(info, CONTENT)
        file.writestr("last", b"after it")
    return zipfile.ZipFile(path)


@pytest.mark.parametrize("extra", [b"", b"\xfe\xca\x02\x00ab"])
@pytest.mark.parametrize("how", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_it_reads_as_the_member_does(tmp_path, how, extra):
    with archive(tmp_path / "x", how, extra) as file:
        with opened_weights(file) as weights:
            assert weights.read() == CONTENT
            for place in (9_990, 3, 0, 10_000, 5_000):
                assert weights.seek(place) == place
                assert weights.read(20) == CONTENT[place : place + 20]
            assert weights.seek(-7, io.SEEK_END) == 9_993
            assert weights.seek(2, io.SEEK_CUR) == 9_995
            assert weights.read() == CONTENT[-5:]
        assert weights.closed


def test_a_file_that_was_cut_ends_early(tmp_path):
    path = tmp_path / "x"
    with archive(path, zipfile.ZIP_STORED) as file:
        start = path.read_bytes().index(CONTENT)
        path.write_bytes(path.read_bytes()[: start + 100])
        with opened_weights(file) as weights:
            assert weights.read() == CONTENT[:100]


def test_a_header_of_another_member_is_refused(tmp_path):
    path = tmp_path / "x"
    archive(path, zipfile.ZIP_STORED).close()
    content = path.read_bytes()
    path.write_bytes(
        content.replace(b"model.weights.h5", b"other.weights.h5", 1)
    )
    with zipfile.ZipFile(path) as file, pytest.raises(zipfile.BadZipFile):
        opened_weights(file)
    with pytest.raises(KeyError):
        opened_weights(zipfile.ZipFile(io.BytesIO(b"PK\5\6" + bytes(18))))
