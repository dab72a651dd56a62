"""Training and validation images, as a run gets them."""

import numpy as np
import pytest

from packnet_tf.data import open_task, pipeline
from packnet_tf.options.task import TaskOptions
from packnet_tf.workflow.datasets import prepare


def pixels_of(dataset):
    return np.concatenate([x for x, _ in dataset]).tobytes()


@pytest.mark.parametrize("share", [0.0, 0.3])
def test_validation_images_of_the_data_are_used_and_no_others(
    image_folder, share
):
    data = open_task("own", str(image_folder(parts=("train", "val", "test"))))
    options = TaskOptions(task="own", batch_size=4, validation_share=share)
    prepared = prepare(data, 16, options)
    facts = prepared.facts
    assert (facts.train, facts.validation, facts.test) == (12, 12, 12)
    expected = pipeline.evaluation(data.validation, 16, 4)
    assert pixels_of(prepared.validation) == pixels_of(expected)


def test_without_them_they_are_taken_from_the_training_images(image_folder):
    options = TaskOptions(task="own", batch_size=4, validation_share=0.3)
    data = open_task("own", str(image_folder()))
    facts = prepare(data, 16, options).facts
    assert facts.train + facts.validation == 12 and facts.validation
