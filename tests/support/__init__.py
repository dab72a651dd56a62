"""What the tests share: small networks, runs and references."""

import pathlib

ROOT = pathlib.Path(__file__).resolve().parents[2]
