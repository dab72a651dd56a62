"""What every refused command is checked for."""

import hashlib
import pathlib

SECONDS = 30


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
    assert len(lines) == 1, ended.stderr
    message = lines[0]
    assert message.startswith("error: ")
    for word in words:
        assert str(word) in message, message
    assert ended.seconds < SECONDS
