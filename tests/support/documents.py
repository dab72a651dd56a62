"""The documents, and the code in them."""

import os
import re
import subprocess
import sys

from support import ROOT

README = ROOT / "README.md"
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md")])


def blocks(path, language):
    """Returns the fenced blocks of a language, in order."""
    pattern = rf"^```{language}\n(.*?)^```$"
    return re.findall(pattern, path.read_text(), re.M | re.S)


def run_python(path, folder):
    """Runs a document's Python blocks in a folder; returns what they print."""
    answer = subprocess.run(
        [sys.executable, "-c", "\n".join(blocks(path, "python"))],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        timeout=600,
    )
    assert answer.returncode == 0, answer.stderr
    return answer.stdout
