import json

import tensorflow as tf

from packnet_tf import machine


def test_facts_are_plain_and_stable():
    facts = machine.machine_facts()
    assert json.loads(json.dumps(facts)) == facts == machine.machine_facts()
    assert facts["tensorflow"] == tf.__version__
    assert facts["cpus"] >= 1
    assert "CPU" in facts["devices"]


def test_settings_that_change_the_bytes_are_facts(monkeypatch):
    before = machine.machine_facts()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    after = machine.machine_facts()
    assert machine.differences(after, before) == ["settings"]


def test_differences_leave_out_what_is_harmless():
    facts = machine.machine_facts()
    assert machine.differences(facts, facts) == []
    other = {**facts, "python": "2.7", "cpus": 999}
    assert machine.differences(facts, other) == ["cpus"]
    assert machine.differences(facts, {}) != []
