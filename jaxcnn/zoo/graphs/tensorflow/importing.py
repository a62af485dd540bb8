"""Imports networks of TensorFlow: chooses inputs and outputs, and evaluates the graph between them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.graphs.builder import GraphBuilder, ImportedNetwork
from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.endings import find_endings
from jaxcnn.zoo.graphs.tensorflow.evaluation import GraphEvaluation
from jaxcnn.zoo.graphs.tensorflow.references import parse_reference
from jaxcnn.zoo.graphs.tensorflow.scopes import Scope
from jaxcnn.zoo.graphs.tensorflow.values import GraphValue

__all__ = ["import_tensorflow"]

_SIGNATURES = ("serving_default", "serve", "predict", "default")


def import_tensorflow(path: Path, checkpoint: Checkpoint) -> ImportedNetwork:
    """Imports a network of TensorFlow: a frozen graph or a SavedModel.

    Convention:
        Constants are folded. The batch is free, also where the file fixes it. Outputs are those of the signature
        ``serving_default``, or else the nodes that no other one reads. Maps are held channels last; an
        output that a network of such maps transposes keeps TensorFlow's order. Batch
        normalizations that are spelled out as arithmetic become one node. What follows non-maximum suppression, loops
        and the like is left off with a note. A graph that decodes images begins behind the decoder.

    Args:
        path: The file.
        checkpoint: Its content.

    Returns:
        The network.

    Raises:
        FormatError: If it is inconsistent or has unknown operations.
    """
    metadata = checkpoint.metadata
    names = {name.removesuffix("/read") for name in (*checkpoint.tensors, *metadata.get("constants", ()))}
    builder = GraphBuilder(path, checkpoint.tensors, name=Path(path).stem)
    ctx = Context(builder, names)
    ctx.any_first = any(
        str(node["attributes"].get("data_format", ""))[:2] == "NC" or node["op"] == "Transpose"
        for nodes in metadata.get("functions", {}).values()
        for node in nodes
    )
    evaluation = GraphEvaluation(ctx, checkpoint)
    signature = _choose_signature(builder, metadata.get("signatures", {}))
    scope = evaluation.open(checkpoint.graph or [])
    if signature is not None:
        ctx.input_names = {parse_reference(value).node: key for key, value in signature["inputs"].items()}
        wanted = list(signature["outputs"].items())
    else:
        wanted = [(name, name) for name in find_endings(builder, scope)]
    outputs = _evaluate_outputs(ctx, evaluation, scope, wanted)
    builder.check_known()
    if not outputs:
        raise builder.error("has no output that depends on an input.")
    _drop_absorbed(ctx, outputs)
    return builder.finish(outputs, preprocessing=ctx.preprocessing)


def _choose_signature(
    builder: GraphBuilder, signatures: Mapping[str, Mapping[str, Mapping[str, str]]]
) -> Mapping[str, Mapping[str, str]] | None:
    """Chooses the signature for serving, or the first one with inputs and outputs."""
    usable = {key: one for key, one in signatures.items() if one["inputs"] and one["outputs"] and key[:2] != "__"}
    if not usable:
        return None
    key = next((name for name in _SIGNATURES if name in usable), next(iter(usable)))
    others = [name for name in usable if name != key and usable[name]["outputs"] != usable[key]["outputs"]]
    if others:
        builder.note(f"The signature {key!r} is read; there are also {', '.join(map(repr, others[:8]))}.")
    return usable[key]


def _evaluate_outputs(
    ctx: Context, evaluation: GraphEvaluation, scope: Scope, wanted: Sequence[tuple[str, str]]
) -> list[str]:
    """Evaluates the outputs, and returns the names of their values."""
    found: list[tuple[str, GraphValue]] = []
    for name, reference in wanted:
        result = evaluation.find(scope, reference)
        if isinstance(result, GraphValue):
            found.append((name, ctx.finish_value(result)))
    outputs: list[str] = []
    for name, value in found:
        if len(found) > 1 and value.name != name:
            value_name = ctx.builder.add("identity", name, [value.name])
            if value_name != name:
                ctx.builder.tap(name, value_name)
            outputs.append(value_name)
        elif value.name not in outputs:
            ctx.builder.tap(name, value.name)
            outputs.append(value.name)
    return outputs


def _drop_absorbed(ctx: Context, outputs: Sequence[str]) -> None:
    """Drops nodes that are parts of others now, if nothing else reads them."""
    builder = ctx.builder
    kept: list[Any] = []
    read = set(outputs)
    for node in reversed(builder.nodes):
        if node.name in ctx.absorbed and node.name not in read:
            continue
        read.update(node.inputs)
        kept.append(node)
    builder.nodes = kept[::-1]
