"""What a network answers: features, logits and scores of one task."""

from typing import Any

import keras

from packnet_tf.errors import TaskError
from packnet_tf.model import heads
from packnet_tf.model.tasks import TaskBook
from packnet_tf.task import Task
from packnet_tf.tf_internals.training import hand_on_mask


class Answers(keras.Model):
    """The forward pass of a `PackNet`.

    From its start to its end it is that of one task, in every thread: the
    active one, unless `as_model` asks for another.
    """

    book: TaskBook
    backbone: keras.Model
    heads: list[keras.Layer]

    def features(self, inputs, training=None):
        """Returns the backbone's features, as its outputs are."""
        with self.book.answering(training) as check:
            return check(heads.only(self.backbone(inputs, training=training)))

    def head_outputs(self, task: Task, features, training=None):
        """Returns what a task's head makes of the backbone's features.

        A head of one `Dense` layer gets them flattened to rank 2, a head of
        the user's own as they are.
        """
        if task.head is None:
            features = heads.flat(features)
        head = self.heads[task.owner - 1]
        return heads.only(head(features, training=training))

    def logits(self, inputs, training=None):
        """Returns the active task's logits: the head before its activation.

        Args:
            inputs: A batch as the backbone takes it; of images, pixels 0 to
                255.
            training: As in Keras.
        """
        with self.book.answering(training) as check:
            task = self._answering_task()
            features = self.features(inputs, training=training)
            return check(self.head_outputs(task, features, training=training))

    def call(self, inputs, training=None):
        """Returns the active task's scores."""
        with self.book.answering(training) as check:
            task = self._answering_task()
            logits = self.logits(inputs, training=training)
            if task.classes == 0:
                return check(logits)
            scores = keras.activations.get(task.activation)(logits)
            # Padded steps of a sequence stay out of the loss, as in Keras.
            hand_on_mask(logits, scores)
            return check(scores)

    def compute_output_spec(self, *args, **kwargs):
        """Returns the scores' shape and type, as of any Keras model."""
        return keras.Operation.compute_output_spec(self, *args, **kwargs)

    def compute_output_shape(self, input_shape):
        """Returns the shape of the active task's scores."""
        taken = heads.inputs_of(self.backbone, input_shape)
        return self.compute_output_spec(taken, training=False).shape

    def build(self, input_shape: Any = None) -> None:
        """Does nothing: the backbone comes built."""

    def _answering_task(self) -> Task:
        task = self.book.answering_task
        if task is None:
            raise TaskError("The network has no task yet; call add_task().")
        return task
