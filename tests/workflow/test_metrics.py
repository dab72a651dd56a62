"""Right and wrong answers, counted."""

import numpy as np

from packnet_tf.workflow.metrics import ClassScore, by_class

NAMES = ("ant", "bee", "cat", "dog")


def test_each_class_says_what_it_is_taken_for():
    labels = np.array([0, 0, 0, 0, 1, 1, 2, 2, 2])
    answered = np.array([0, 1, 2, 2, 1, 1, 0, 1, 1])
    assert by_class(labels, answered, NAMES) == (
        ClassScore("ant", 4, 1, "cat", 2),
        ClassScore("bee", 2, 2, None, 0),
        ClassScore("cat", 3, 0, "bee", 2),
        ClassScore("dog", 0, 0, None, 0),
    )
