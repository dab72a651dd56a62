"""Operations of strangers' SavedModels: all that TensorFlow registers."""

import re

import keras
import numpy as np
import pytest
import tensorflow as tf
from keras import layers
from tensorflow.core.framework import op_def_pb2
from tensorflow.python.client import pywrap_tf_session

from packnet_tf.untrusted.operations import only_computes

# Attributes and inputs that name what is outside of a program.
_PLACE = re.compile(
    r".*(file|path|dir(?!ection)|address|url|uri|prefix|pattern|server|region|worker"
    r"|protocol|stream|source|target|token|host|mlir|module|basename|key$"
    r"|command|device).*"
)
# Names like these, of what is inside.
_HARMLESS = {
    "StaticRegexFullMatch": "a regular expression",
    "StaticRegexReplace": "a regular expression",
    "RegexFullMatch": "a regular expression",
    "RegexReplace": "a regular expression",
    "TensorArrayGrad": "the source of a gradient",
    "TensorArrayGradV2": "the source of a gradient",
    "TensorArrayGradV3": "the source of a gradient",
    "TensorArrayGradWithShape": "the source of a gradient",
    "DeviceIndex": "compares the program's own device with names",
    "VarHandleOp": "devices that the variable may be on",
}
_HARM = """
Abort Batch BatchFunction CalibrationStatisticsSaver CollectiveReduceV2 Copy
CreateSummaryDbWriter DataServiceDatasetV4 DebugIdentityV3 DecodeProtoV2
DumpTensor EagerPyFunc EncodeProto FIFOQueueV2 FixedUnigramCandidateSampler
FileSystemSetConfiguration GenerateVocabRemapping ImmutableConst ImportEvent
InitializeTableFromTextFileV2 LMDBDataset LoadAndRemapMatrix MatchingFiles
MergeV2Checkpoints PrintV2 PyFunc PyFuncStateless ReadFile RecordInput
RestoreV2 RpcClient RpcServer SaveV2 Skipgram SleepOp SnapshotDatasetV2
SqlDataset TextLineReaderV2 ThreadPoolHandle WorkerHeartbeat WriteFile
XlaCallModule XlaCustomCallV2 XlaLaunch
""".split()


def registered():
    """Returns the definition of each operation that TensorFlow has."""
    found = op_def_pb2.OpList()
    every = pywrap_tf_session.TF_GetAllOpList()
    found.ParseFromString(pywrap_tf_session.TF_GetBuffer(every))
    return {op.name: op for op in found.op}


def places(op):
    """Returns what an operation takes that may name a file or another place."""
    names = [a.name for a in op.attr if "string" in a.type]
    names += [
        a.name for a in op.input_arg if a.type == tf.string.as_datatype_enum
    ]
    return [name for name in names if _PLACE.fullmatch(name)]


def test_an_operation_that_names_a_place_is_refused_or_known():
    ops = registered()
    assert len(ops) > 1000
    named = {name: places(op) for name, op in ops.items()}
    passed = {name for name in named if named[name] and only_computes(name)}
    assert passed <= _HARMLESS.keys(), {
        name: named[name] for name in passed - _HARMLESS.keys()
    }


@pytest.mark.parametrize("op", _HARM)
def test_an_operation_that_does_harm_is_refused(op):
    assert not only_computes(op)


IMAGES, ROWS, WORDS = (8, 8, 3), (5, 4), (1,)
HONEST = {
    "attention": (ROWS, lambda x: layers.MultiHeadAttention(2, 3)(x, x)),
    "augmentation": (IMAGES, layers.RandomCrop(4, 4)),
    "bidirectional": (ROWS, layers.Bidirectional(layers.GRU(3))),
    "contrast": (IMAGES, layers.RandomContrast(0.5)),
    "conv_lstm": ((3, *IMAGES), layers.ConvLSTM2D(2, 3)),
    "depthwise": (IMAGES, layers.SeparableConv2D(4, 3)),
    "discretization": (ROWS, layers.Discretization([0.0, 1.0])),
    "dropout": (ROWS, layers.Dropout(0.5)),
    "einsum": (ROWS, layers.EinsumDense("abc,cd->abd", (None, 3))),
    "group": (IMAGES, layers.GroupNormalization(3)),
    "hashing": (WORDS, layers.Hashing(7)),
    "lookup": (WORDS, layers.StringLookup(vocabulary=["a", "b"])),
    "lstm": (ROWS, layers.LSTM(3)),
    "mel": ((4096,), layers.MelSpectrogram()),
    "pooling": (IMAGES, layers.MaxPooling2D()),
    "resizing": (IMAGES, layers.Resizing(5, 7, "bicubic")),
    "rnn": (ROWS, layers.RNN(layers.SimpleRNNCell(3))),
    "spectral": (ROWS, layers.SpectralNormalization(layers.Dense(2))),
    "text": (
        WORDS,
        layers.TextVectorization(vocabulary=["a"], output_sequence_length=3),
    ),
    "transpose": (IMAGES, layers.Conv2DTranspose(4, 3)),
    "upsampling": (IMAGES, layers.UpSampling2D(interpolation="bilinear")),
}


def operations_of(program):
    graph = program.graph.as_graph_def()
    nodes = [*graph.node]
    for function in graph.library.function:
        nodes += function.node_def
    return {node.op for node in nodes}


@pytest.mark.parametrize("training", [False, True])
@pytest.mark.parametrize("case", HONEST)
def test_layers_only_compute(case, training):
    shape, layer = HONEST[case]
    dtype = "string" if shape == WORDS else "float32"
    inputs = keras.Input(shape, dtype=dtype)
    model = keras.Model(inputs, layer(inputs))

    @tf.function(autograph=False)
    def program(x):
        return model(x, training=training)

    spec = tf.TensorSpec([None, *shape], dtype)
    ops = operations_of(program.get_concrete_function(spec))
    assert [op for op in sorted(ops) if not only_computes(op)] == []


def test_strings_tables_loops_and_random_numbers_only_compute():
    table = tf.lookup.StaticHashTable(
        tf.lookup.KeyValueTensorInitializer(["a"], [1]), 0
    )
    counts = tf.lookup.experimental.DenseHashTable(
        tf.string, tf.int64, 0, "", "-"
    )
    generator = tf.random.Generator.from_seed(0)
    seen = tf.Variable(np.zeros(3, np.float32))

    @tf.function
    def program(words):
        parts = tf.strings.split(tf.strings.lower(words), "_")
        found = tf.cast(table.lookup(parts.flat_values), tf.float32)
        counts.insert(
            parts.flat_values, tf.ones_like(parts.flat_values, tf.int64)
        )
        seen.scatter_nd_add([[0]], [1.0])
        total = tf.zeros([])
        for number in tf.range(tf.size(found)):
            if found[number] > 0:
                total += tf.random.normal([]) + generator.uniform([])
        crop = tf.image.random_crop(tf.zeros([9, 9, 3]), [4, 4, 3])
        tf.debugging.assert_all_finite(total, "total")
        spread = tf.map_fn(lambda x: x + seen[0], found)
        return total + tf.reduce_sum(spread) + tf.reduce_sum(crop)

    spec = tf.TensorSpec([None], tf.string)
    ops = operations_of(program.get_concrete_function(spec))
    assert {"While", "LookupTableFindV2"} <= ops
    assert [op for op in sorted(ops) if not only_computes(op)] == []
