import subprocess
import sys

import keras
import numpy as np
import pytest

from packnet_tf.options.task import OPTIMIZERS, SCHEDULES
from packnet_tf.workflow.schedules import learning_rate, make_optimizer


def rates(schedule, steps=10):
    rate = learning_rate(schedule, 0.1, steps)
    if isinstance(rate, float):
        return [rate] * steps
    return [float(rate(step)) for step in range(steps + 1)]


def test_a_constant_rate_is_a_number():
    assert learning_rate("constant", 0.1, 10) == 0.1


def test_cosine_falls_to_zero():
    found = rates("cosine")
    assert found[0] == pytest.approx(0.1)
    assert found[5] == pytest.approx(0.05)
    assert found[10] == pytest.approx(0.0, abs=1e-9)
    assert found == sorted(found, reverse=True)


def test_one_cosine_goes_over_both_phases():
    whole = learning_rate("cosine", 0.1, 30)
    parts = [
        learning_rate("cosine", 0.1, 12, after=18),
        learning_rate("cosine", 0.1, 18, before=12),
    ]
    found = [float(parts[0](s)) for s in range(12)]
    found += [float(parts[1](s)) for s in range(18)]
    assert found == [float(whole(s)) for s in range(30)]
    config = keras.optimizers.schedules.serialize(parts[1])
    again = keras.optimizers.schedules.deserialize(config)
    assert float(again(3)) == float(parts[1](3))


def test_a_warm_up_rises_to_the_peak_and_is_of_the_train_phase():
    train = learning_rate("cosine", 0.1, 12, after=18, warmup_share=0.2)
    retrain = learning_rate("cosine", 0.1, 18, before=12, warmup_share=0.2)
    found = [float(train(s)) for s in range(12)]
    found += [float(retrain(s)) for s in range(19)]
    rise, fall = found[:7], found[6:]
    assert rise == pytest.approx([0.1 * s / 6 for s in range(7)])
    assert fall == sorted(fall, reverse=True)
    assert fall[12] == pytest.approx(0.05)
    assert fall[24] == pytest.approx(0.0, abs=1e-9)


def test_steps_fall_to_a_tenth_after_half():
    found = rates("step")
    assert found[0] == found[5] == pytest.approx(0.1)
    assert found[6] == found[10] == pytest.approx(0.01)


def test_restarts_are_a_cosine_in_each_phase():
    train = learning_rate("restarts", 0.1, 10, after=20, warmup_share=0.2)
    alone = learning_rate("cosine", 0.1, 10, warmup_share=0.2)
    retrain = learning_rate("restarts", 0.1, 20, before=10, warmup_share=0.2)
    for step in range(11):
        assert float(train(step)) == float(alone(step))
    # What is trained already needs no second warm-up.
    assert float(retrain(0)) == pytest.approx(0.1)
    assert float(retrain(20)) == pytest.approx(0)


@pytest.mark.parametrize("schedule", SCHEDULES)
def test_a_phase_of_one_step_is_possible(schedule):
    assert np.isfinite(rates(schedule, steps=1)).all()


@pytest.mark.parametrize("name", OPTIMIZERS)
@pytest.mark.parametrize("schedule", SCHEDULES)
def test_every_optimizer_takes_every_schedule(name, schedule):
    optimizer = make_optimizer(name, schedule, 0.1, 10)
    assert float(np.asarray(optimizer.learning_rate)) == pytest.approx(0.1)
    assert type(optimizer).__name__.lower() == name


def test_momentum_as_in_the_paper():
    assert make_optimizer("sgd", "constant", 0.1, 10).momentum == 0.9


def test_weight_decay_is_the_optimizers_own_unless_given():
    def decay_of(name, given=None):
        return make_optimizer(name, "cosine", 0.1, 10, given).weight_decay

    assert decay_of("adamw") == keras.optimizers.AdamW().weight_decay
    assert decay_of("adam") is None
    assert decay_of("adamw", 0.05) == 0.05
    assert not decay_of("adamw", 0.0)


def test_files_of_networks_in_training_need_no_other_import():
    code = (
        "import keras, packnet_tf; name = 'packnet_tf>PartOfCosine'; "
        "print(keras.saving.get_registered_object(name))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code], check=True, capture_output=True, text=True
    )
    assert "PartOfCosine" in shown.stdout
