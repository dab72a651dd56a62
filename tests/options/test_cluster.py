"""What `TF_CONFIG` may say, and what is refused in one line."""

import json

import pytest

from packnet_tf.errors import FlagError
from packnet_tf.options.cluster import Cluster, parse_cluster


def text(cluster, kind="worker", index=0):
    return json.dumps(
        {"cluster": cluster, "task": {"type": kind, "index": index}}
    )


TWO = {"worker": ["a:1", "b:1"]}
WITH_CHIEF = {"chief": ["c:1"], **TWO}


@pytest.mark.parametrize(
    "value, expected",
    [
        (text(TWO, index=1), Cluster(("a:1", "b:1"), 1)),
        (text(WITH_CHIEF), Cluster(("c:1", "a:1", "b:1"), 1)),
        (text(WITH_CHIEF, "chief"), Cluster(("c:1", "a:1", "b:1"), 0)),
        (text({"worker": ["[::1]:22"]}), Cluster(("[::1]:22",), 0)),
    ],
)
def test_a_cluster(value, expected):
    assert parse_cluster(value) == expected
    assert parse_cluster(value).is_chief == (expected.index == 0)


@pytest.mark.parametrize(
    "value, word",
    [
        (None, "is not set"),
        (" ", "is not set"),
        ("{", "is no JSON"),
        ("[]", 'lacks "cluster"'),
        ('{"cluster": {}}', 'lacks "cluster" or "task"'),
        (text({}), "names no worker"),
        (text({"worker": []}), "names no worker"),
        (text({"worker": "a:1"}), "a list of HOST:PORT"),
        (text({"worker": ["a"]}), "names the worker 'a'"),
        (text({"worker": [":1"]}), "names the worker ':1'"),
        (text({"worker": ["a:b"]}), "'a:b'"),
        (text({"worker": ["a:²"]}), "'a:²'"),
        (text({"worker": [1]}), "names the worker 1"),
        (text({"worker": ["a:1", "a:1"]}), "names a:1 twice"),
        (text({"chief": ["a:1", "b:1"]}, "chief"), "has 2 chiefs"),
        (text({**TWO, "ps": ["c:1"]}), 'has "ps"'),
        (text(TWO, "chief"), "type 'chief'"),
        (text(TWO, "evaluator"), "type 'evaluator'"),
        (text(TWO, ["worker"]), "type ['worker']"),
        (text(TWO, index=2), "a number from 0 to 1"),
        (text(TWO, index=-1), "a number from 0 to 1"),
        (text(TWO, index="0"), "worker '0'"),
        (text(TWO, index=True), "worker True"),
    ],
)
def test_no_cluster(value, word):
    with pytest.raises(FlagError) as caught:
        parse_cluster(value)
    message = str(caught.value)
    assert word in message and "TF_CONFIG" in message
    assert "\n" not in message
