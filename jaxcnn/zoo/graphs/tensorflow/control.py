"""Inputs, conditions, random numbers, and operations that pass a value on."""

from typing import Any

import numpy as np

from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import tidy
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import DEAD, Dead, FoldedConstant, GraphValue, Noise, Result, UnsupportedNode

__all__ = ["PASSING"]

PASSING = (
    *("Identity", "StopGradient", "PreventGradient", "CheckNumerics", "Snapshot", "CopyHost", "Copy"),
    *("PlaceholderWithDefault", "EnsureShape", "ReadVariableOp", "Enter", "Print", "PrintV2", "DebugIdentity"),
    *("DisableCopyOnRead", "_Arg", "_Retval"),
)
"""Operations whose only output is their first input."""


@handles(*PASSING)
def _pass_on(ctx: Context, node: SourceNode, x: Result, *rest: Result) -> Result:
    return x


@handles("IdentityN")
def _pass_on_all(ctx: Context, node: SourceNode, *inputs: Result) -> list[Result]:
    return list(inputs)


@handles("Switch", "RefSwitch")
def _switch(ctx: Context, node: SourceNode, x: Result, condition: Result) -> list[Result]:
    taken = is_true(condition)
    return [DEAD, x] if taken else [x, DEAD]


@handles("Merge", "RefMerge")
def _merge(ctx: Context, node: SourceNode, *inputs: Result) -> list[Result]:
    alive = [(at, one) for at, one in enumerate(inputs) if not isinstance(one, Dead)]
    if not alive:
        return [DEAD, DEAD]
    if len(alive) > 1:
        raise UnsupportedNode("two branches that are both taken")
    return [alive[0][1], FoldedConstant(np.asarray(alive[0][0], np.int64), op=node.op)]


def is_true(condition: Result) -> bool:
    """Evaluates a condition.

    Raises:
        Unsupported: If it is not known.
    """
    if not isinstance(condition, FoldedConstant) or condition.array.dtype == object or condition.array.size != 1:
        raise UnsupportedNode("a condition that is not known")
    return bool(condition.array.reshape(-1)[0])


@handles("Shape", "ShapeN", "Rank", "Size")
def _describe(ctx: Context, node: SourceNode, *values: GraphValue) -> Any:
    results = []
    for value in values:
        dims = np.empty(value.rank, object)
        dims[:] = value.dims
        if node.op == "Rank":
            dims = np.asarray(value.rank, np.int64)
        elif node.op == "Size":
            dims = np.asarray(np.prod(dims), object)
        results.append(FoldedConstant(tidy(dims), op=node.op))
    return results if node.op == "ShapeN" else results[0]


@handles(
    "RandomUniform", "RandomStandardNormal", "TruncatedNormal", "StatelessRandomUniform", "StatelessRandomUniformV2"
)
def _draw(ctx: Context, node: SourceNode, *shape: Result) -> Result:
    if "Uniform" in node.op:
        return Noise()
    raise UnsupportedNode("random numbers")
