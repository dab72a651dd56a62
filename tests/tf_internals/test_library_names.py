"""The private names that the package uses are still in Keras and TensorFlow.

Each of these fails by itself, with the name, when a library changes it.
"""

import importlib
import inspect
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
from tensorflow.python.distribute import collective_all_reduce_strategy

from packnet_tf.tf_internals import (
    files,
    layers,
    optimizers,
    training,
    variables,
)


def dense():
    layer = keras.layers.Dense(2)
    layer.build((None, 3))
    return layer


def model():
    made = keras.Sequential([keras.Input((3,)), dense()])
    made.compile("adam", "mse", metrics=["mae"])
    made.train_on_batch(np.zeros((2, 3)), np.zeros((2, 2)))
    return made


def functional():
    inputs = keras.Input((3,))
    return keras.Model(inputs, keras.layers.Dense(2)(inputs))


def attention():
    layer = keras.layers.MultiHeadAttention(1, 2)
    layer.build((None, 4, 2), (None, 4, 2))
    return layer


MODULE_NAMES = [
    ("keras.src.backend", "get_keras_mask"),
    ("keras.src.backend", "set_keras_mask"),
    ("keras.src.backend.common.global_state", "get_global_attribute"),
    ("keras.src.backend.common.global_state", "set_global_attribute"),
    ("keras.src.models.functional", "Functional"),
    ("keras.src.saving.object_registration", "GLOBAL_CUSTOM_NAMES"),
    ("keras.src.saving.serialization_lib", "ObjectSharingScope"),
    ("keras.src.saving.serialization_lib", "get_shared_object"),
    ("keras.src.saving.serialization_lib", "serialize_with_public_class"),
    ("keras.src.trainers.data_adapters", "ArrayDataAdapter"),
    ("keras.src.trainers.data_adapters", "get_data_adapter"),
    ("keras.src.trainers.data_adapters.data_adapter", "DataAdapter"),
    (
        "keras.src.trainers.data_adapters.array_slicing",
        "train_validation_split",
    ),
    ("tensorflow.core.protobuf.saved_model_pb2", "SavedModel"),
    ("keras.src.saving.saving_lib", "H5IOStore"),
    ("keras.src.saving.saving_lib", "_serialize_model_as_json"),
    ("keras.src.saving.saving_lib", "safe_get_h5_dataset"),
    (
        "tensorflow.python.data.ops.multi_device_iterator_ops",
        "_create_device_dataset",
    ),
    ("tensorflow.python.framework.config", "is_op_determinism_enabled"),
    ("tensorflow.python.framework.op_def_registry", "get"),
]

# What has them when it is made, and the names.
OBJECT_NAMES = [
    (
        dense,
        "_flatten_layers _layers _trainable_variables "
        "_non_trainable_variables _trainable _tracker _lock_state "
        "_untrack_variable _post_build _kernel",
    ),
    (
        model,
        "_functional _distribute_strategy _compile_metrics _compile_loss "
        "_maybe_symbolic_build _symbolic_build _make_function _compute_loss "
        "_loss_tracker _initial_epoch",
    ),
    (
        lambda: model()._compile_metrics,
        "_user_metrics _user_weighted_metrics output_names",
    ),
    (
        lambda: model()._compile_loss,
        "_user_loss _user_loss_weights output_names",
    ),
    (lambda: keras.metrics.MeanMetricWrapper(abs), "_fn _fn_kwargs"),
    (lambda: dense().kernel, "_value _trainable"),
    (functional, "_nodes_by_depth _run_through_graph _outputs_struct"),
    (lambda: functional().output, "_keras_history"),
    (attention, "_flash_attention"),
    (lambda: keras.layers.Lambda(abs), "_output_shape"),
    (lambda: keras.losses.MeanSquaredError(), "_fn_kwargs"),
    (lambda: keras.Variable, "_initialize_with_initializer"),
    (
        lambda: keras.optimizers.AdamW(),
        "_apply_weight_decay _use_weight_decay _learning_rate",
    ),
    (
        lambda: tf.saved_model.experimental.TrackableResource(),
        "_track_trackable",
    ),
]


@pytest.mark.parametrize("module, name", MODULE_NAMES)
def test_a_module_has_the_name(module, name):
    assert hasattr(importlib.import_module(module), name)


@pytest.mark.parametrize(
    "make, name",
    [
        pytest.param(make, name, id=name)
        for make, names in OBJECT_NAMES
        for name in names.split()
    ],
)
def test_an_object_has_the_name(make, name):
    assert hasattr(make(), name)


def test_a_strategy_counts_its_workers_where_it_sends_to_them():
    """A strategy of several workers itself is in integration/test_workers."""
    extended = collective_all_reduce_strategy.CollectiveAllReduceExtended
    source = inspect.getsource(extended._get_variable_creator_initial_value)
    assert "if self._num_workers > 1:" in source


def test_merge_calls_are_where_optimizers_find_them():
    assert callable(optimizers.merge_call)


def test_exclusions_from_decay_are_copied():
    one, other = keras.optimizers.AdamW(), keras.optimizers.AdamW()
    kernel = dense().kernel
    one.exclude_from_weight_decay([kernel], var_names=["bias"])
    optimizers.exclude_from_decay(other, optimizers.decay_exclusions(one))
    assert not other._use_weight_decay(kernel)
    assert not other._use_weight_decay(dense().bias)
    assert other._use_weight_decay(dense().kernel)


def test_decay_of_some_variables_is_left_to_a_function():
    ours, theirs = dense().kernel, dense().kernel
    optimizer = keras.optimizers.SGD(1.0, weight_decay=0.5)
    optimizer.build([ours, theirs])
    seen = []
    optimizers.exchange_decay(optimizer, lambda v: v is ours, seen.extend)
    before = np.asarray(ours), np.asarray(theirs)
    zeros = [tf.zeros_like(ours.value), tf.zeros_like(theirs.value)]
    optimizer.apply_gradients(zip(zeros, [ours, theirs], strict=True))
    assert seen == [ours]
    assert np.array_equal(np.asarray(ours), before[0])
    assert np.allclose(np.asarray(theirs), before[1] / 2)


def test_automatic_configs_are_marked_by_keras():
    class Plain(keras.layers.Layer):
        pass

    class Own(keras.layers.Layer):
        def get_config(self):
            return super().get_config()

    assert getattr(Plain.get_config, "_is_default", False)
    assert not getattr(Own.get_config, "_is_default", False)


def test_a_model_is_asked_while_keras_writes_a_legacy_file(tmp_path):
    seen = []

    class Asked(keras.Model):
        def get_config(self):
            seen.append(files.writes_legacy_file())
            return {}

    Asked().save(tmp_path / "a.keras")
    Asked().save(tmp_path / "a.h5")
    assert seen == [False, True]
    assert not files.writes_legacy_file()


def test_the_legacy_file_that_keras_has_begun_is_removed(tmp_path):
    class Refused(keras.Sequential):
        def get_config(self):
            files.drop_legacy_file()
            raise ValueError("refused")

    with pytest.raises(ValueError, match="refused"):
        Refused().save(tmp_path / "a.h5")
    assert not (tmp_path / "a.h5").exists()
    files.drop_legacy_file()  # There is none.


def test_keras_writes_what_it_is_told_and_no_dates(tmp_path):
    given = []

    def stored(value):
        given.append(value)
        return np.full(value.shape, len(given), np.float16)

    net = keras.Sequential([keras.Input((3,)), dense()])
    with files.same_bytes(stored):
        net.save(tmp_path / "a.keras")
    assert [value is v for value, v in zip(given, net.weights, strict=True)]
    with zipfile.ZipFile(tmp_path / "a.keras") as archive:
        assert archive.testzip() is None
        assert {i.date_time[0] for i in archive.infolist()} == {1980}
        assert b"date" not in archive.read("metadata.json")
    read = keras.saving.load_model(tmp_path / "a.keras")
    assert [np.unique(w) for w in read.weights] == [[1], [2]]
    # Afterwards everything is Keras's own again.
    net.save(tmp_path / "b.keras")
    with zipfile.ZipFile(tmp_path / "b.keras") as archive:
        assert b"date" in archive.read("metadata.json")
    read = keras.saving.load_model(tmp_path / "b.keras")
    assert np.array_equal(read.weights[0], net.weights[0])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_a_value_of_a_file_is_read_without_a_copy(tmp_path, dtype):
    found = {}

    class Reading(keras.layers.Dense):
        def load_own_variables(self, store):
            for key in store.keys():
                found[key] = files.stored_array(store, key), store[key]
            super().load_own_variables(store)

    net = keras.Sequential([keras.Input((3,)), Reading(2, dtype=dtype)])
    net.save(tmp_path / "a.keras")
    keras.saving.load_model(
        tmp_path / "a.keras", custom_objects={"Reading": Reading}
    )
    assert len(found) == 2
    for ours, theirs in found.values():
        assert not ours.flags.owndata and not ours.flags.writeable
        assert (ours.dtype, ours.shape) == (theirs.dtype, theirs.shape)
        assert ours.tobytes() == theirs.tobytes()


def test_keras_says_which_paths_are_remote_and_asks_before_it_overwrites(
    monkeypatch,
):
    assert files.is_remote_path("gs://bucket/n.keras")
    assert not files.is_remote_path("folder/n.keras")
    for answer in ("y", "n"):
        monkeypatch.setattr("builtins.input", lambda _, given=answer: given)
        assert files.may_overwrite("n.keras") == (answer == "y")


def test_after_build_runs_once_and_before_the_state_is_locked():
    calls = []

    class Late(layers.AfterBuild, keras.layers.Dense):
        def after_build(self):
            super().after_build()
            calls.append(self._tracker.locked)

    late = Late(2)
    late(np.zeros((1, 3)))
    late(np.zeros((1, 3)))
    assert calls == [False]


def test_the_trainers_overrides_have_their_arguments():
    ours = inspect.signature(training.TrainerHooks._maybe_symbolic_build)
    theirs = inspect.signature(keras.Model._maybe_symbolic_build)
    assert list(ours.parameters) == list(theirs.parameters)


def test_a_variable_reads_and_writes_the_storage_that_is_chosen():
    layer = dense()
    first = variables.storage_of(layer.bias)
    second = variables.new_storage(layer.bias, [5.0, 6.0])
    chosen = [first]
    moves = [True]
    variables.switch(layer.bias, lambda: chosen[0], lambda: moves[0])
    layer.bias.assign([1.0, 2.0])
    chosen[0] = second
    assert np.array_equal(layer.bias, [5, 6])
    moves[0] = False
    layer.bias.assign([7.0, 8.0])
    assert np.array_equal(second, [5, 6]) and np.array_equal(first, [1, 2])
    with tf.GradientTape() as tape:
        output = tf.reduce_sum(layer(np.ones((1, 3), "float32")))
    assert np.array_equal(tape.gradient(output, [layer.bias])[0], [1, 1])
    twin = variables.alias(layer.bias, first)
    assert np.array_equal(twin, [1, 2]) and not twin.trainable
    assert layer.bias.trainable


def test_the_outermost_model_is_known_while_it_is_traced():
    seen = []

    class Inner(keras.layers.Layer):
        def call(self, inputs):
            seen.append(variables.entry_model())
            return inputs

    assert variables.entry_model() is None
    outer = keras.Sequential([Inner()])
    outer.predict(np.zeros((1, 3)), verbose=0)
    assert seen[-1] is outer


def test_the_graph_that_is_traced_is_known():
    seen = []

    @tf.function
    def traced(x):
        seen.append(training.traced_graph())
        return x + 1

    graph = traced.get_concrete_function(tf.constant(1)).graph
    assert seen == [graph]
