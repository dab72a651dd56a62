"""The share of right answers of a network."""

import keras
import numpy as np


def accuracy(net: keras.Model, dataset) -> float:
    """Returns the share of right answers, from 0 to 1.

    Of a `PackNet`, those of its active task.

    Args:
        net: A model whose outputs are scores or logits.
        dataset: Batches of (image, label).
    """
    # Through `predict`, which knows how to share batches between replicas.
    scores = net.predict(dataset.map(lambda image, _: image), verbose=0)
    labels = [np.asarray(label) for _, label in dataset]
    if not labels:
        return 0.0
    return float(np.mean(np.argmax(scores, -1) == np.concatenate(labels)))
