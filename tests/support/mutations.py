"""Files with one byte or one key changed, as damage would do it."""

import copy
import io
import json
import re

import numpy as np


def kind_of(path):
    """Returns what a file of a workdir is called, in whichever state it is."""
    name = path.name
    return "events" if "tfevents" in name else re.sub(r"^\d+-", "", name)


def mutated(content, random):
    """Returns the content of a file with one thing changed, and what it was.

    Args:
        content: The bytes of the file.
        random: A NumPy generator.
    """
    way = random.choice([_byte, _byte, _cut, _more, _changed_key])
    try:
        return way(content, random)
    except ValueError:  # It has no keys.
        return _byte(content, random)


def _changed_key(content, random):
    if content.startswith(b"PK"):
        with np.load(io.BytesIO(content)) as arrays:
            record, what = _key({**arrays}, random)
        file = io.BytesIO()
        np.savez(file, **{k: np.asarray(v) for k, v in record.items()})
        return file.getvalue(), what
    record = json.loads(content)
    if not isinstance(record, dict):
        raise ValueError("no keys")
    changed, what = _key(record, random)
    return json.dumps(changed, indent=1).encode(), what


def _byte(content, random):
    place = int(random.integers(max(1, len(content))))
    changed = bytearray(content or b"\0")
    changed[place] ^= 1 << int(random.integers(8))
    return bytes(changed), f"a bit of byte {place}"


def _cut(content, random):
    place = int(random.integers(max(1, len(content))))
    return content[:place] + content[place + 1 :], f"byte {place} away"


def _more(content, random):
    place = int(random.integers(len(content) + 1))
    return content[:place] + b"\x00" + content[place:], f"a byte at {place}"


def _key(record, random):
    """Changes or removes one value of a record, however deep."""
    record = copy.deepcopy(record)
    if isinstance(record.get("record"), np.ndarray) and random.integers(2):
        # The record inside a checkpoint.
        inner, what = _key(json.loads(record["record"].tobytes()), random)
        record["record"] = np.frombuffer(json.dumps(inner).encode(), np.uint8)
        return record, f"record: {what}"
    places = list(_places(record))
    inner, key = places[int(random.integers(len(places)))]
    if random.integers(2):
        del inner[key]
        return record, f"without {key}"
    inner[key] = random.choice(_values(inner[key]))()
    return record, f"{key} is {str(inner[key])[:40]}"


def _places(value):
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, part in items:
        yield value, key
        yield from _places(part)


def _values(before):
    others = [lambda: None, lambda: [], lambda: {}, lambda: -1, lambda: "x"]
    if isinstance(before, np.ndarray):
        return [
            lambda: before[:-1] if before.ndim else before + 1,
            lambda: before.T,
            lambda: before.astype(str),
        ]
    if isinstance(before, bool):
        return [*others, lambda: not before]
    if isinstance(before, (int, float)):
        return [
            *others,
            lambda: before + 1,
            lambda: before * 2,
            lambda: before / 3,
        ]
    if isinstance(before, str):
        return [
            *others,
            lambda: before + "x",
            lambda: before[1:],
            lambda: 2**70,
        ]
    return others
