"""The paper's procedure in NumPy, for a convolution and two dense layers.

A transcription of PackNet (Mallya and Lazebnik, CVPR 2018), in float64, that
shares no code with the package: plain SGD, ReLU, softmax cross entropy, the
heads outside the masks, and biases that only the first task trains.
"""

import numpy as np


class Reference:
    """A small network whose weights are shared between tasks.

    Args:
        kernels: Convolution [3, 3, in, out], without padding, and dense
            [in, out], which follow each other.
        biases: Those of both layers.
    """

    def __init__(self, kernels, biases):
        self.kernels = [np.array(k, np.float64) for k in kernels]
        self.biases = [np.array(b, np.float64) for b in biases]
        self.owners = [np.zeros(k.shape, int) for k in kernels]
        self.task = 0

    def begin(self, head, bias):
        """Adds a task, which takes all free weights and has its own head."""
        self.task += 1
        for owner in self.owners:
            owner[owner == 0] = self.task
        self.head = np.array(head, np.float64)
        self.head_bias = np.array(bias, np.float64)

    def step(self, images, labels, rate):
        """One step of SGD on the mean loss of a batch."""
        conv, dense = self.kernels
        count = len(images)
        windows = np.lib.stride_tricks.sliding_window_view(
            images.astype(np.float64), (3, 3), axis=(1, 2)
        )
        patches = np.moveaxis(windows, 3, 5).reshape(
            *windows.shape[:3], -1
        )  # [count, height, width, 3 * 3 * in]
        maps = np.maximum(
            patches @ conv.reshape(-1, conv.shape[-1]) + self.biases[0], 0
        )
        flat = maps.reshape(count, -1)
        features = np.maximum(flat @ dense + self.biases[1], 0)
        logits = features @ self.head + self.head_bias
        scores = np.exp(logits - logits.max(1, keepdims=True))
        scores /= scores.sum(1, keepdims=True)

        to_logits = scores.copy()
        to_logits[np.arange(count), labels] -= 1
        to_logits /= count
        to_features = (to_logits @ self.head.T) * (features > 0)
        to_maps = (to_features @ dense.T).reshape(maps.shape) * (maps > 0)
        to_conv = np.tensordot(patches, to_maps, ([0, 1, 2], [0, 1, 2]))

        self.head -= rate * features.T @ to_logits
        self.head_bias -= rate * to_logits.sum(0)
        gradients = [to_conv.reshape(conv.shape), flat.T @ to_features]
        for kernel, owner, gradient in zip(
            self.kernels, self.owners, gradients, strict=True
        ):
            # After the backward pass: 0 where the owner is another task.
            kernel -= rate * gradient * (owner == self.task)
        if self.task == 1:
            self.biases[0] -= rate * to_maps.sum((0, 1, 2))
            self.biases[1] -= rate * to_features.sum(0)

    def prune(self, fraction):
        """Frees what is at or below the rank's magnitude, layer by layer.

        Returns:
            For each layer the distance from the largest that went to the
            smallest that stayed.
        """
        distances = []
        for kernel, owner in zip(self.kernels, self.owners, strict=True):
            own = np.sort(np.abs(kernel[owner == self.task]))
            rank = round(fraction * own.size)
            cut = own[rank - 1]
            goes = (owner == self.task) & (np.abs(kernel) <= cut)
            kernel[goes] = 0
            owner[goes] = 0
            distances.append(own[rank] - cut)
        return distances
