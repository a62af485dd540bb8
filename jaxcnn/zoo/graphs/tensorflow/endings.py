"""Finds the outputs of a frozen graph: the nodes that no other one reads, or what detectors suppress boxes of."""

from collections.abc import Iterable

from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.tensorflow.references import parse_reference
from jaxcnn.zoo.graphs.tensorflow.scopes import Scope

__all__ = ["find_endings"]

_SILENT = {
    *("NoOp", "Assert", "Print", "PrintV2", "Const", "Placeholder", "VarHandleOp", "VariableV2", "Variable"),
    *("ScalarSummary", "HistogramSummary", "ImageSummary", "MergeSummary", "AudioSummary", "TensorSummary"),
    *("TensorSummaryV2", "SaveV2", "Save", "SaveSlices", "RestoreV2", "Restore", "RestoreSlice", "MergeV2Checkpoints"),
    *("ShardedFilename", "Assign", "AssignVariableOp", "AssignAdd", "AssignSub", "AssignAddVariableOp"),
    *("AssignSubVariableOp", "ApplyGradientDescent", "ApplyMomentum", "ApplyAdam", "IsVariableInitialized"),
    *("VarIsInitializedOp", "WriteFile", "QueueEnqueueV2", "QueueCloseV2"),
}
_DETECTING = {
    *("NonMaxSuppression", "NonMaxSuppressionV2", "NonMaxSuppressionV3", "NonMaxSuppressionV4"),
    *("NonMaxSuppressionV5", "CombinedNonMaxSuppression", "NonMaxSuppressionWithOverlaps", "TopK", "TopKV2"),
    *("Where", "CropAndResize", "Enter", "LoopCond", "NextIteration", "While", "StatelessWhile", "TensorArrayV3"),
    *("TensorArrayScatterV3", "GatherNd", "TensorListFromTensor", "TensorListReserve"),
}
_WEIGHED = {"Conv2D", "DepthwiseConv2dNative", "MatMul", "Conv2DBackpropInput", "Conv3D", "FusedBatchNorm"}
_WEIGHED |= {"FusedBatchNormV3"}


def find_endings(builder: GraphBuilder, scope: Scope) -> list[str]:
    """Finds the nodes that are outputs.

    Args:
        builder: For notes.
        scope: The graph.

    Returns:
        Their names, in the file's order.
    """
    detecting = [name for name, node in scope.nodes.items() if node["op"] in _DETECTING]
    behind = _collect_readers(scope, detecting) if detecting else set()
    if behind and not any(scope.nodes[name]["op"] in _WEIGHED for name in behind):
        fed = {
            parse_reference(source).node
            for name in behind
            for source in scope.nodes[name]["inputs"]
            if not source.startswith("^")
        }
        fed = {name for name in fed if name in scope.nodes and name not in behind and _is_computed(scope, name)}
        fed = {_step_back(scope, name) for name in fed}
        operations = sorted({scope.nodes[name]["op"] for name in detecting})
        builder.note(f"What follows {', '.join(operations[:6])} is left off; the values before it are outputs.")
        chosen = fed | {name for name in _list_unread(scope) if name not in behind}
        return _keep_last(scope, chosen)
    return _list_unread(scope)


def _step_back(scope: Scope, name: str) -> str:
    """Steps back from what takes a part of a value for one example or class."""
    for _ in range(8):
        node = scope.nodes[name]
        before = parse_reference(node["inputs"][0]).node if node["inputs"] else ""
        if node["op"] not in ("StridedSlice", "Squeeze", "Unpack", "ExpandDims", "Slice") or before not in scope.nodes:
            break
        name = before
    return name


def _list_unread(scope: Scope) -> list[str]:
    """Lists the nodes that nothing reads but summaries and the like."""
    return [
        name
        for name, node in scope.nodes.items()
        if node["op"] not in _SILENT and not any(_reads(scope, reader, name) for reader in scope.readers.get(name, ()))
    ]


def _reads(scope: Scope, reader: str, name: str) -> bool:
    node = scope.nodes[reader]
    if node["op"] in _SILENT:
        return False
    return any(not source.startswith("^") and parse_reference(source).node == name for source in node["inputs"])


def _collect_readers(scope: Scope, names: Iterable[str]) -> set[str]:
    """Collects nodes and all that depends on them."""
    found, waiting = set(names), list(names)
    while waiting:
        for reader in scope.readers.get(waiting.pop(), ()):
            if reader not in found:
                found.add(reader)
                waiting.append(reader)
    return found


def _is_computed(scope: Scope, name: str) -> bool:
    """Tests whether a node depends on an input and computes numbers, not a shape."""
    seen, waiting = {name}, [name]
    while waiting:
        node = scope.nodes.get(waiting.pop())
        if node is None or node["op"] in ("Shape", "Rank", "Size"):
            continue
        if node["op"] == "Placeholder":
            return True
        for source in node["inputs"]:
            other = parse_reference(source).node
            if not source.startswith("^") and other not in seen:
                seen.add(other)
                waiting.append(other)
    return False


def _keep_last(scope: Scope, names: set[str]) -> list[str]:
    """Keeps the nodes that no other one of them depends on."""
    before: set[str] = set()
    for name in names:
        waiting = [name]
        while waiting:
            node = scope.nodes.get(waiting.pop())
            for source in node["inputs"] if node is not None else ():
                other = parse_reference(source).node
                if other not in before:
                    before.add(other)
                    waiting.append(other)
    return [name for name in scope.nodes if name in names and name not in before]
