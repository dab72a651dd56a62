"""Tells the operations that only compute from those that do more.

TensorFlow marks operations as stateful whose effect is more than their
outputs. Of these, only the ones listed here are allowed. The others only
compute, but for the ones named here, which TensorFlow does not mark.
"""

import re

from packnet_tf.tf_internals.files import is_stateful

# They keep what they change inside the program, or draw random numbers.
_INSIDE = re.compile(
    # Control flow.
    r"Assert|Case|CheckNumerics(V2)?|DeviceIndex|If|StatefulPartitionedCall"
    r"|While"
    # Variables and memory.
    r"|Var(HandleOp|IsInitializedOp)|Variable(V2|Shape)?"
    r"|(Assign|AssignAdd|AssignSub|Read)VariableOp|DisableCopyOnRead|Empty"
    r"|GuaranteeConst|Resource(Gather|Scatter|StridedSlice)\w*|TensorArray\w*"
    # Lookup tables, filled with tensors.
    r"|(Anonymous)?(HashTable|Mutable(Dense)?HashTable(OfTensors)?)(V2)?"
    r"|InitializeTableV2|LookupTable(Export|Find|Import|Insert|Remove|Size)V2"
    # Random numbers.
    r"|Multinomial|NonDeterministicInts|(Parameterized)?TruncatedNormal"
    r"|Random(Crop|Gamma|Poisson(V2)?|Shuffle|StandardNormal|Uniform(Int)?)"
    r"|Rng(ReadAndSkip|Skip)|SampleDistortedBoundingBox(V2)?"
    r"|Stateful(RandomBinomial|StandardNormal(V2)?|TruncatedNormal)"
    r"|StatefulUniform(FullInt|Int)?|StatelessRandomGetAlg"
    r"|(All|LearnedUnigram|LogUniform|ThreadUnsafeUnigram|Uniform)"
    r"CandidateSampler"
    # Recurrent layers on a GPU.
    r"|CudnnRNN(Backprop)?(V2|V3)?"
)
# Data sets made of tensors, which decode images.
_DATASETS = {
    "BatchDatasetV2",
    "DatasetToSingleElement",
    "IgnoreErrorsDataset",
    "ParallelMapDatasetV2",
    "RangeDataset",
    "RewriteDataset",
    "TensorSliceDataset",
    "ZipDataset",
}
_OUTSIDE = re.compile(
    r".*(PyFunc|File|Reader|Dataset|Iterator|Summary|Print|Save|Restore"
    r"|Checkpoint|Rpc|Debug|Dump|Remote|Socket|Bigtable|Library"
    # These read or write files that they name themselves.
    r"|Remap|codeProto|ImmutableConst|^Write"
    # Other devices and processes.
    r"|Send|Recv|Collective|Nccl|TPU|Infeed|TRT|HostCompute|DTensor"
    # These call native code by name, or hold a program of another kind.
    r"|XlaCustomCall|XlaLaunch|Mlir"
    # These end the process, wait in threads, or watch it.
    r"|^Abort$|^(Unb|B)atch(Function|Grad)?$|^Copy(Host)?$).*"
)


def only_computes(op: str) -> bool:
    """Whether an operation touches nothing outside of its program.

    Args:
        op: Its name. Those that this TensorFlow does not know cannot be
            loaded, and pass.

    Example:

    >>> only_computes("Conv2D"), only_computes("ReadFile")
    (True, False)
    """
    if op in _DATASETS:
        return True
    if _OUTSIDE.fullmatch(op):
        return False
    return not is_stateful(op) or _INSIDE.fullmatch(op) is not None
