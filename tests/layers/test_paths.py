"""Where layers are: the same words for every copy, and in old files."""

import keras
from keras import layers

from packnet_tf.layers.paths import attribute_paths, current_path
from packnet_tf.tf_internals.layers import layers_of


class Block(layers.Layer):
    def __init__(self):
        super().__init__()
        self.branches = {"b": [layers.Dense(1)], "a": layers.Dense(1)}
        self.body = keras.Sequential([layers.Dense(1), layers.Dense(2)])
        self.again = self.body.layers[1]


def model():
    nested = keras.Sequential([keras.Input((1,)), layers.ReLU(name="relu")])
    return keras.Sequential([Block(), layers.TimeDistributed(nested)])


def paths_of(block, **kwargs):
    found = attribute_paths(block, **kwargs)
    return [found.get(id(part)) for part in layers_of(block)]


def test_copies_have_the_same_paths():
    paths = paths_of(Block())
    assert paths == paths_of(Block())
    assert sorted(filter(None, paths)) == [
        "again",
        "body",
        "body.0",
        "branches.a",
        "branches.b.0",
    ]


def test_names_count_where_a_config_holds_them():
    network = model()
    found = attribute_paths(network).values()
    block, wrapper = (layer.name for layer in network.layers)
    assert {block, f"{block}.body.0", f"{wrapper}.layer.relu"} <= set(found)
    named = attribute_paths(network, by_name=True).values()
    first = network.layers[0].body.layers[0].name
    assert f"{block}.body.{first}" in named


def test_paths_of_release_0_1_are_read():
    old = "_self_unconditional_dependency_names.attention._query_dense"
    assert current_path(old) == "attention._query_dense"
    assert current_path("down.0") == "down.0"
