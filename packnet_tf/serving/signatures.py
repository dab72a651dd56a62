"""The signatures of a SavedModel: one per task, and those of all tasks."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import tensorflow as tf

from packnet_tf.data.images.preprocessing import Preprocessing
from packnet_tf.serving.image_bytes import pixels_of
from packnet_tf.task import Task

_Function: TypeAlias = tf.types.experimental.PolymorphicFunction
_Outputs = dict[str, tf.Tensor]


def signatures_of(
    tasks: Sequence[Task],
    answers: Mapping[str, _Function],
    inputs: Any,
    preprocessing: Mapping[str, Preprocessing] | None = None,
) -> dict[str, _Function]:
    """Returns the signatures of a packed network.

    Each task has a signature of its name, and the newest task with a head is
    also `serving_default`. A network of square images adds `<task>_bytes`,
    `all_tasks`, `by_task` and `auto`; see `export_saved_model`.

    Args:
        tasks: The tasks, in order.
        answers: The function that answers a batch, by the task's name.
        inputs: What the backbone takes: a `tf.TensorSpec` with a name, or a
            structure of them.
        preprocessing: How each task's images become network inputs, by the
            task's name; by default as for an image folder.
    """
    made = {task.name: answers[task.name] for task in tasks}
    headed = [task.name for task in tasks if task.classes]
    made["serving_default"] = made[(headed or [tasks[-1].name])[-1]]
    if not _takes_images(inputs):
        return made
    size = inputs.shape[1]
    for task in tasks:
        how = (preprocessing or {}).get(task.name) or Preprocessing()
        made[f"{task.name}_bytes"] = _from_bytes(
            answers[task.name], pixels_of(size, how)
        )
    made["all_tasks"] = _all_tasks(answers, inputs)
    ranked = {name: answers[name] for name in names_ranked(tasks, answers)}
    if ranked:
        made["by_task"] = _by_task(ranked, inputs)
    certain = {
        task.name: ranked[task.name]
        for task in tasks
        if task.name in ranked and task.activation == "softmax"
    }
    if certain:
        made["auto"] = _auto(certain, inputs)
    return made


def names_ranked(
    tasks: Sequence[Task], answers: Mapping[str, _Function]
) -> list[str]:
    """Returns the tasks that `by_task` knows: those that classify an image."""
    return [
        task.name
        for task in tasks
        if task.classes and _is_classifier(answers[task.name])
    ]


def _takes_images(inputs: Any) -> bool:
    if not isinstance(inputs, tf.TensorSpec) or inputs.dtype != tf.float32:
        return False
    shape = inputs.shape
    return shape.rank == 4 and shape[1] == shape[2] and shape[3] == 3


def _is_classifier(answer: _Function) -> bool:
    """Whether each image gets one row of scores."""
    return answer.get_concrete_function().output_shapes["scores"].rank == 2


def _function(*inputs: tf.TensorSpec) -> Callable[[Callable], _Function]:
    return tf.function(input_signature=inputs, autograph=False)


def _from_bytes(answer: _Function, pixels: _Function) -> _Function:
    @_function(tf.TensorSpec([None], tf.string, name="image_bytes"))
    def of_bytes(image_bytes):
        return answer(pixels(image_bytes))

    return of_bytes


def _all_tasks(answers: Mapping[str, _Function], inputs: Any) -> _Function:
    @_function(inputs)
    def all_tasks(images):
        return {
            f"{name}_{output}": value
            for name, answer in answers.items()
            for output, value in answer(images).items()
            if output in ("scores", "features")
        }

    return all_tasks


def _by_task(answers: Mapping[str, _Function], inputs: Any) -> _Function:
    most = _most_classes(answers)

    @_function(inputs, tf.TensorSpec([None], tf.string, name="task"))
    def by_task(images, task):
        with tf.control_dependencies([_check_names(task, images, answers)]):
            task = tf.identity(task)
        batch = tf.shape(images)[0]
        found = {
            "scores": tf.zeros([batch, most], tf.float32),
            "classes": tf.fill([batch, most], ""),
        }
        for name, answer in answers.items():
            rows = tf.equal(task, name)

            def put(answer=answer, rows=rows, found=found):
                # The whole batch, because in a part of it the same row may
                # round differently.
                return _put(rows, _padded(answer(images), most), found)

            # Tasks that no row asks for are not computed.
            found = tf.cond(tf.reduce_any(rows), put, lambda found=found: found)
        return {
            key: tf.ensure_shape(value, [None, most])
            for key, value in found.items()
        }

    return by_task


def _auto(answers: Mapping[str, _Function], inputs: Any) -> _Function:
    most = _most_classes(answers)

    @_function(inputs)
    def auto(images):
        every = [answer(images) for answer in answers.values()]
        certainty = tf.stack(
            [tf.cast(tf.reduce_max(e["scores"], 1), tf.float32) for e in every],
            1,
        )
        # The first task wins a tie.
        best = tf.argmax(certainty, 1)
        found = _padded(every[0], most)
        for number, outputs in enumerate(every[1:], start=1):
            rows = tf.equal(best, number)
            found = _put(rows, _padded(outputs, most), found)
        names = tf.constant(list(answers))
        return {
            **found,
            "task": tf.gather(names, best),
            "certainty": tf.reduce_max(certainty, 1),
        }

    return auto


def _most_classes(answers: Mapping[str, _Function]) -> int:
    return max(
        answer.get_concrete_function().output_shapes["scores"][1]
        for answer in answers.values()
    )


def _padded(outputs: _Outputs, most: int) -> _Outputs:
    """Returns scores and class names as wide as the widest task's."""
    scores = tf.cast(outputs["scores"], tf.float32)
    sides = [[0, 0], [0, most - scores.shape[1]]]
    return {
        "scores": tf.pad(scores, sides),
        "classes": tf.pad(outputs["classes"], sides, constant_values=""),
    }


def _put(rows: tf.Tensor, new: _Outputs, old: _Outputs) -> _Outputs:
    """Returns `new` in some rows, `old` in the others."""
    return {key: tf.where(rows[:, None], new[key], old[key]) for key in old}


def _check_names(
    task: tf.Tensor, images: tf.Tensor, answers: Mapping[str, _Function]
) -> tf.Operation:
    """Refuses unknown tasks, a wrong number of names, and no images."""
    known = tf.reduce_any(
        tf.equal(task[:, None], tf.constant(list(answers))[None]), 1
    )
    unknown = tf.where(~known)[:, 0]
    which = tf.strings.reduce_join(
        tf.strings.join(
            [
                "row ",
                tf.strings.as_string(unknown),
                " asks for ",
                tf.gather(task, unknown),
            ]
        ),
        separator=", ",
    )
    tasks = ", ".join(answers)
    rows = tf.shape(images)[0]
    # No task's own function, which refuses it too, is called for no rows.
    some = tf.debugging.Assert(rows > 0, ["images: a batch without rows."])
    as_many = tf.debugging.Assert(
        tf.equal(tf.size(task), rows),
        ["task: expected one name for each of the images."],
    )
    with tf.control_dependencies([some, as_many]):
        return tf.debugging.Assert(
            tf.reduce_all(known),
            [
                tf.strings.join(
                    ["task: ", which, f" (from 0); the tasks are: {tasks}."]
                )
            ],
        )
