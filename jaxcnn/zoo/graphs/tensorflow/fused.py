"""Convolutions and products with what follows them in one operation, as TensorFlow's optimizer writes them."""

import dataclasses
from typing import Any

from jaxcnn.zoo.graphs.tensorflow.arithmetic import combine
from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.convolutions import add_convolution, multiply
from jaxcnn.zoo.graphs.tensorflow.normalization import normalize
from jaxcnn.zoo.graphs.tensorflow.table import SourceNode, handles
from jaxcnn.zoo.graphs.tensorflow.values import GraphValue, Result, UnsupportedNode

__all__: list[str] = []

_ACTIVATIONS: dict[str, tuple[str, dict[str, Any]]] = {
    "Relu": ("relu", {}),
    "Relu6": ("relu", {"max_value": 6.0}),
    "Elu": ("elu", {}),
    "Tanh": ("tanh", {}),
    "Sigmoid": ("sigmoid", {}),
    "GeluExact": ("gelu", {"approximate": False}),
    "GeluApproximate": ("gelu", {"approximate": True}),
}


@handles("_FusedConv2D", "_FusedMatMul", "_FusedDepthwiseConv2dNative")
def _fused(ctx: Context, node: SourceNode, x: Result, kernel: Result, *rest: Result) -> GraphValue:
    names = node.attributes.get("fused_ops", [])
    names = [str(name) for name in names] if isinstance(names, list) else []
    plain = node.op.removeprefix("_Fused")
    steps = [dataclasses.replace(node, name=f"{node.name}/{name}", op=name) for name in (plain, *names)]
    steps[-1] = dataclasses.replace(steps[-1], name=node.name)
    y = (multiply if plain == "MatMul" else add_convolution)(ctx, steps[0], x, kernel)
    for name, step in zip(names, steps[1:], strict=True):
        if name == "BiasAdd" and len(rest) == 1:
            y = combine(ctx, step, "add", y, rest[0])
        elif name == "FusedBatchNorm" and len(rest) == 4:
            settings = {**node.attributes, "is_training": False}
            y = normalize(ctx, dataclasses.replace(step, attributes=settings), y, *rest)[0]
        elif name == "LeakyRelu":
            y = ctx.emit("relu", step, [y], y.dims, options={"negative_slope": node.number("leakyrelu_alpha", 0.2)})
        elif name in _ACTIVATIONS:
            op, options = _ACTIVATIONS[name]
            y = ctx.emit(op, step, [y], y.dims, options=options)
        else:
            raise UnsupportedNode(f"the fused operation {name}")
    return y
