import json

import tensorflow as tf

from packnet_tf.storage import environment


def test_facts_are_plain_and_stable():
    facts = environment.machine_facts()
    assert json.loads(json.dumps(facts)) == facts == environment.machine_facts()
    assert facts["tensorflow"] == tf.__version__
    assert facts["cpus"] >= 1
    assert "CPU" in facts["devices"]


def test_settings_that_change_the_bytes_are_facts(monkeypatch):
    before = environment.machine_facts()
    monkeypatch.setenv("TF_ENABLE_ONEDNN_OPTS", "0")
    monkeypatch.setenv("TF_CPP_MIN_LOG_LEVEL", "0")
    after = environment.machine_facts()
    assert environment.differences(after, before) == ["settings"]


def test_differences_leave_out_what_is_harmless():
    facts = environment.machine_facts()
    assert environment.differences(facts, facts) == []
    other = {**facts, "python": "2.7", "cpus": 999}
    assert environment.differences(facts, other) == ["cpus"]
    assert environment.differences(facts, {}) != []
