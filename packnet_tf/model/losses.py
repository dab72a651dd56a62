"""Which losses and metrics suit the outputs of a task.

Keras computes any loss of any outputs, and gives figures that mean nothing
where the two do not fit. What is known not to fit is refused; of losses of
the user's own nothing is known.
"""

from typing import Any

import keras
import numpy as np
import tensorflow as tf

from packnet_tf.errors import TaskError
from packnet_tf.task import Task
from packnet_tf.tf_internals.training import loss_arguments

_FAMILIES = {
    "categorical_crossentropy": "categorical",
    "sparse_categorical_crossentropy": "categorical",
    "categorical_focal_crossentropy": "categorical",
    "binary_crossentropy": "binary",
    "binary_focal_crossentropy": "binary",
    "mean_squared_error": "regression",
    "mean_absolute_error": "regression",
    "mean_absolute_percentage_error": "regression",
    "mean_squared_logarithmic_error": "regression",
    "huber": "regression",
    "log_cosh": "regression",
}
_CHOSEN_BY_SHAPE = ("crossentropy", "ce")
_ACCURACY = ("accuracy", "acc")
# What each activation is there for.
_FAMILY_OF = {"softmax": "categorical", "sigmoid": "binary"}


def check_activation(activation: str, task: str) -> str:
    """Returns the name of an activation, if Keras knows it.

    Args:
        activation: The proposed name.
        task: Name of the task, for the message.

    Raises:
        TaskError: If it is no name, or an unknown one.
    """
    try:
        known = isinstance(activation, str) and keras.activations.get(
            activation
        )
    except ValueError:
        known = False
    if not known:
        raise TaskError(
            f"Task {task!r}: activation={activation!r} is not the name of a "
            "Keras activation; expected softmax, sigmoid, linear or another. "
            "A function of your own belongs into a head of your own."
        )
    return activation


def loss_name(loss: Any) -> str | None:
    """Returns the Keras name of a loss, or None for no loss or several.

    Args:
        loss: What `compile` takes: a name, a function, a `Loss`, or a list
            or dict of them.

    Returns:
        The function's name, e.g. `"mean_squared_error"` for `"mse"`.
    """
    loss = _one(loss)
    if isinstance(loss, str) and loss.lower() in _CHOSEN_BY_SHAPE:
        return "crossentropy"
    if loss is None or isinstance(loss, (list, tuple, dict)):
        return None
    loss = keras.losses.get(loss)
    loss = getattr(loss, "fn", loss)
    return getattr(loss, "__name__", type(loss).__name__)


def check_loss(task: Task, activation: str | None, loss: Any) -> None:
    """Refuses a loss that does not suit the outputs of a task.

    Args:
        task: The task.
        activation: What its outputs come out of: the Keras name of the
            activation, or None if it is not known.
        loss: What `compile` takes.

    Raises:
        TaskError: Naming the task, the loss and what to use instead.
    """
    name = loss_name(loss)
    if task.classes == 0 or name is None:
        return
    family = _family(name, task)
    logits = bool(loss_arguments(_one(loss)).get("from_logits"))
    where = f"The loss {name} does not suit task {task.name!r}"
    if logits and activation not in ("linear", None):
        raise TaskError(
            f"The loss has from_logits=True, but the outputs of task "
            f"{task.name!r} are scores behind {activation}; use "
            "from_logits=False (gradients are those of the logits), or "
            "add the task with activation='linear'."
        )
    if family not in ("categorical", "binary"):
        return
    if family == "categorical" and task.classes == 1:
        raise TaskError(
            f"{where}: of one class it is always 0; use binary_crossentropy "
            "and activation='sigmoid'."
        )
    if activation == "linear" and not logits:
        suits = "softmax" if family == "categorical" else "sigmoid"
        raise TaskError(
            f"{where}, whose outputs are linear: give the loss "
            f"from_logits=True, or add the task with activation='{suits}'."
        )
    if _FAMILY_OF.get(activation or "", family) != family:
        other = "binary" if family == "categorical" else "categorical"
        raise TaskError(
            f"{where}, whose outputs are scores behind {activation}; use "
            f"{other}_crossentropy, or add the task with activation="
            f"'{'softmax' if family == 'categorical' else 'sigmoid'}'."
        )


def check_evaluated_loss(task: Task, activation: str | None, loss: Any) -> None:
    """Refuses to evaluate a task by the loss of another one.

    `compile` may have been called for another task since. Within a kind of
    losses they may differ, as sparse labels and one-hot ones do.

    Args:
        task: The task, with the name of the loss it was trained with.
        activation: As for `check_loss`.
        loss: What `compile` was called with last.

    Raises:
        TaskError: Naming both losses.
    """
    name = loss_name(loss)
    if name is None or task.loss is None or task.classes == 0:
        return
    now, then = _family(name, task), _family(task.loss, task)
    if None in (now, then) or now == then:
        return
    if now != _FAMILY_OF.get(activation or ""):
        raise TaskError(
            f"Task {task.name!r} was trained with {task.loss}, and the "
            f"network is compiled with {name}; call compile() with the loss "
            f"and metrics of {task.name!r} first."
        )


def check_metrics(
    task: Task, activation: str | None, loss: Any, metrics: Any
) -> None:
    """Refuses "accuracy" where Keras would compute another one than meant.

    Args:
        task: The task.
        activation: As for `check_loss`.
        loss: What `compile` takes.
        metrics: What `compile` takes, in any structure.

    Raises:
        TaskError: Naming the metric to use instead.
    """
    named = [m for m in keras.tree.flatten(metrics) if isinstance(m, str)]
    if task.classes == 0 or not {m.lower() for m in named} & {*_ACCURACY}:
        return
    if activation == "sigmoid" and task.classes > 1:
        raise TaskError(
            f"metrics: 'accuracy' of task {task.name!r} would be that of the "
            "one largest score, but each of its classes is answered by "
            "itself; use 'binary_accuracy'."
        )
    name = loss_name(loss)
    if activation == "linear" and name and _family(name, task) == "regression":
        raise TaskError(
            f"metrics: 'accuracy' counts right classes, but task "
            f"{task.name!r} is trained with {name}; use 'mae' or another "
            "metric of numbers."
        )


def check_labels(task: Task, loss: Any, labels: Any) -> None:
    """Refuses labels that are no numbers of classes, where Keras rounds them.

    Args:
        task: The task.
        loss: What `compile` took.
        labels: Arrays or lists; of what is anything else nothing is known
            before it runs.

    Raises:
        TaskError: Naming the first such label.
    """
    if not takes_numbers(loss) or task.classes == 0:
        return
    if not isinstance(labels, (np.ndarray, list, tuple, tf.Tensor)):
        return
    values = np.asarray(labels)
    if values.dtype.kind not in "iuf":
        return
    wrong = (values < 0) | (values >= task.classes) | (values % 1 != 0)
    ignored = loss_arguments(_one(loss)).get("ignore_class")
    if ignored is not None:
        wrong &= values != ignored
    if wrong.any():
        place = int(np.flatnonzero(wrong)[0])
        raise TaskError(
            f"Task {task.name!r}: label {values.reshape(-1)[place]} of row "
            f"{place // (wrong.size // len(wrong))} (from 0) is not the number "
            f"of a class; expected whole numbers from 0 to {task.classes - 1}."
        )


def takes_numbers(loss: Any) -> bool:
    """Whether a loss takes the numbers of classes as labels."""
    return loss_name(loss) == "sparse_categorical_crossentropy"


def _one(loss: Any) -> Any:
    """Returns the one loss of a list or dict of one; all else as it is."""
    if isinstance(loss, dict) and len(loss) == 1:
        (loss,) = loss.values()
    if isinstance(loss, (list, tuple)) and len(loss) == 1:
        (loss,) = loss
    return loss


def _family(name: str, task: Task) -> str | None:
    if name == "crossentropy":
        return "binary" if task.classes == 1 else "categorical"
    return _FAMILIES.get(name)
