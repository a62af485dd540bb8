"""The same network, with the same weights, in Keras and in PyTorch: made of their own layers, one per node of a graph.

A plan lists what both need to know of the nodes: padding resolved to pixels, batch norm and the scale behind it as one
layer, as both frameworks have it, and vectors for maps of one pixel.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.graphs import Graph, Node, find_shapes
from jaxcnn.ops._padding import same_padding

Pairs = list[tuple[int, int]]


@dataclasses.dataclass
class Layer:
    """One layer: what it computes, from which values, with which numbers.

    Attributes:
        kind: ``"conv"``, ``"depthwise"``, ``"norm"``, ``"relu"``, ``"max"``, ``"average"``, ``"mean"``, ``"add"``,
            ``"dense"``, ``"dropout"``, ``"pad"``, ``"vector"`` and ``"maps"`` (of one pixel), ``"softmax"``
            or ``"pass"``.
        inputs: Names of the values that it reads.
        output: Name of the value that it writes.
        settings: Windows, strides, padding and the like.
        arrays: Role to array; kernels as in the graph.
    """

    kind: str
    inputs: tuple[str, ...]
    output: str
    settings: dict[str, Any] = dataclasses.field(default_factory=dict)
    arrays: dict[str, np.ndarray] = dataclasses.field(default_factory=dict)


def make_plan(graph: Graph, arrays: Mapping[str, np.ndarray], shape: tuple[int, ...]) -> list[Layer]:
    """Lists the layers of a graph with one input, for images of a shape (h, w, c).

    Args:
        graph: The network.
        arrays: Path of parameter to array.
        shape: Shape of an image.

    Returns:
        The layers in order.

    Raises:
        ValueError: If an operation is none of those that the benchmark's networks have.
    """
    shapes = find_shapes(graph, inputs={graph.inputs[0].name: shape})
    readers: dict[str, list[Node]] = {}
    for node in graph.nodes:
        for name in node.inputs:
            readers.setdefault(name, []).append(node)
    merged = {
        node.outputs[0]: readers[node.outputs[0]][0]
        for node in graph.nodes
        if len(readers.get(node.outputs[0], ())) == 1 and _completes(readers[node.outputs[0]][0], node)
    }
    done = {node.name for node in merged.values()}
    layers = []
    for node in graph.nodes:
        if node.name in done:
            continue
        found = {role: np.asarray(arrays[path]) for role, path in node.parameters.items()}
        output = node.outputs[0]
        if output in merged:
            rest = merged[output]
            found |= {_ROLES.get(role, role): np.asarray(arrays[path]) for role, path in rest.parameters.items()}
            output = rest.outputs[0]
        x = shapes[node.inputs[0]]
        layers.append(_describe(node, x, shapes[output], output, found))
    return layers


_ROLES = {"constant": "bias"}


def _completes(node: Node, before: Node) -> bool:
    """Tests whether a node is the rest of a layer: the scale of a batch norm, the bias of a kernel."""
    if before.op == "batch_norm":
        return node.op == "scale" and "scale" not in before.parameters
    is_bias = node.op == "add" and list(node.parameters) == ["constant"]
    return is_bias and before.op in ("conv", "depthwise_conv", "dense") and "bias" not in before.parameters


def _describe(node: Node, x: tuple[int, ...], y: tuple[int, ...], output: str, arrays: dict[str, np.ndarray]) -> Layer:
    options = dict(node.options)
    if node.op in ("conv", "depthwise_conv"):
        kernel = arrays["kernel"]
        strides, dilation = _pair(options.get("strides", 1)), _pair(options.get("dilation", 1))
        widths = [d * (k - 1) + 1 for d, k in zip(dilation, kernel.shape, strict=False)]
        pads = _pads(options.get("padding", "VALID"), x, widths, strides)
        settings = {"strides": strides, "dilation": dilation, "pads": pads, "groups": options.get("groups", 1)}
        settings["same"] = pads == same_padding(x[:2], widths, strides)
        return Layer("conv" if node.op == "conv" else "depthwise", node.inputs, output, settings, arrays)
    if node.op == "batch_norm":
        settings = {"epsilon": options.get("epsilon", 1e-5), "momentum": options.get("momentum", 0.99)}
        return Layer("norm", node.inputs, output, settings, arrays)
    if node.op == "relu" and not options.get("negative_slope") and not options.get("threshold"):
        return Layer("relu", node.inputs, output, {"maximum": options.get("max_value")})
    if node.op in ("max_pool", "avg_pool"):
        window = _pair(options["window"])
        strides = _pair(options["strides"] if options.get("strides") is not None else window)
        if node.op == "avg_pool" and y[:2] == (1, 1) and window == x[:2]:
            return Layer("mean", node.inputs, output, {"keep": True})
        pads = _pads(options.get("padding", "VALID"), x, window, strides)
        # Padding behind as far as the last window reaches, where sizes are rounded up.
        needed = [(m - 1) * s + w - n - low for m, s, w, n, (low, _) in zip(y, strides, window, x, pads, strict=False)]
        pads = [(low, max(high, more)) for (low, high), more in zip(pads, needed, strict=True)]
        return Layer(
            "max" if node.op == "max_pool" else "average",
            node.inputs,
            output,
            {"window": window, "strides": strides, "pads": pads},
        )
    if node.op == "global_avg_pool":
        return Layer("mean", node.inputs, output, {"keep": bool(options.get("keepdims"))})
    if node.op == "pad" and options.get("mode", "constant") == "constant" and not options.get("value"):
        return Layer("pad", node.inputs, output, {"pads": [tuple(one) for one in options["padding"]][:2]})
    if node.op == "add" and len(node.inputs) == 2:
        return Layer("add", node.inputs, output)
    if node.op == "dense":
        return Layer("dense", node.inputs, output, {}, arrays)
    if node.op in ("dropout", "spatial_dropout"):
        return Layer("dropout", node.inputs, output, {"rate": options.get("rate", 0.5)})
    if node.op in ("flatten", "reshape", "squeeze", "permute", "expand_dims", "identity"):
        if x == y:
            return Layer("pass", node.inputs, output)
        if math.prod(x) == max(x) == max(y) == math.prod(y):
            return Layer("vector" if len(y) == 1 else "maps", node.inputs, output)
    if node.op == "softmax":
        return Layer("softmax", node.inputs, output)
    raise ValueError(f"make_plan: graph must consist of the benchmark's layers, got {node}.")


def _pair(value: int | tuple[int, ...]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _pads(
    padding: str | int | Sequence[tuple[int, int]],
    x: tuple[int, ...],
    widths: Sequence[int],
    strides: tuple[int, int],
) -> Pairs:
    if isinstance(padding, str):
        return same_padding(x[:2], widths, strides) if padding == "SAME" else [(0, 0), (0, 0)]
    return [(padding, padding)] * 2 if isinstance(padding, int) else [(low, high) for low, high in padding]


def build_keras(plan: list[Layer], graph: Graph, shape: tuple[int, ...]) -> Any:
    """Builds a functional model of Keras and sets its weights.

    Args:
        plan: The layers.
        graph: The network.
        shape: Shape of an image.

    Returns:
        The model.
    """
    import keras

    values = {graph.inputs[0].name: keras.Input(shape)}
    weighted = []
    for layer in plan:
        x = [values[name] for name in layer.inputs]
        made, padded = _keras_layer(keras.layers, layer), x[0]
        pads = layer.settings.get("pads")
        if pads and any(map(any, pads)) and layer.kind != "pad" and not layer.settings.get("same"):
            padded = keras.layers.ZeroPadding2D(pads)(padded)
        values[layer.output] = x[0] if made is None else made(x if layer.kind == "add" else padded)
        if made is not None and layer.arrays:
            weighted.append((made, layer))
    model = keras.Model(values[graph.inputs[0].name], values[graph.outputs[-1]])
    for made, layer in weighted:
        roles = ("scale", "bias", "mean", "var") if layer.kind == "norm" else ("kernel", "bias")
        made.set_weights([layer.arrays[role] for role in roles if role in layer.arrays])
    return model


def _keras_layer(layers: Any, layer: Layer) -> Any:
    settings, arrays = layer.settings, layer.arrays
    bias = "bias" in arrays
    if layer.kind in ("conv", "depthwise"):
        size = arrays["kernel"].shape
        common = {"strides": settings["strides"], "dilation_rate": settings["dilation"], "use_bias": bias}
        common["padding"] = "same" if settings["same"] else "valid"
        if layer.kind == "depthwise":
            return layers.DepthwiseConv2D(size[:2], depth_multiplier=size[3], **common)
        return layers.Conv2D(size[3], size[:2], groups=settings["groups"], **common)
    made: dict[str, Callable[[], Any]] = {
        "norm": lambda: layers.BatchNormalization(
            epsilon=settings["epsilon"], momentum=settings["momentum"], center=bias, scale="scale" in arrays
        ),
        "relu": lambda: layers.ReLU(max_value=settings["maximum"]),
        "max": lambda: layers.MaxPooling2D(settings["window"], settings["strides"]),
        "average": lambda: layers.AveragePooling2D(settings["window"], settings["strides"]),
        "mean": lambda: layers.GlobalAveragePooling2D(keepdims=settings["keep"]),
        "pad": lambda: layers.ZeroPadding2D(settings["pads"]),
        "add": layers.Add,
        "dense": lambda: layers.Dense(arrays["kernel"].shape[1], use_bias=bias),
        "dropout": lambda: layers.Dropout(settings["rate"]),
        "vector": layers.Flatten,
        "maps": lambda: layers.Reshape((1, 1, -1)),
        "softmax": layers.Softmax,
        "pass": lambda: None,
    }
    return made[layer.kind]()


def build_torch(plan: list[Layer], graph: Graph) -> Any:
    """Builds a module of PyTorch, of maps (n, c, h, w), and sets its weights.

    Args:
        plan: The layers.
        graph: The network.

    Returns:
        The module.
    """
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.made = torch.nn.ModuleList([_torch_layer(torch, layer) for layer in plan])

        def forward(self, image: Any) -> Any:
            values = {graph.inputs[0].name: image}
            for layer, made in zip(plan, self.made, strict=True):
                x = [values[name] for name in layer.inputs]
                values[layer.output] = x[0] + x[1] if layer.kind == "add" else made(x[0])
            return values[graph.outputs[-1]]

    return Network()


def _torch_layer(torch: Any, layer: Layer) -> Any:
    nn, settings, arrays = torch.nn, layer.settings, layer.arrays
    if layer.kind in ("conv", "depthwise"):
        return _torch_convolution(torch, layer)
    if layer.kind == "norm":
        made = nn.BatchNorm2d(len(arrays["mean"]), settings["epsilon"], 1 - settings["momentum"])
        ones, zeros = np.ones_like(arrays["mean"]), np.zeros_like(arrays["mean"])
        _fill(torch, made.weight, arrays.get("scale", ones))
        _fill(torch, made.bias, arrays.get("bias", zeros))
        _fill(torch, made.running_mean, arrays["mean"])
        _fill(torch, made.running_var, arrays["var"])
        return made
    if layer.kind == "dense":
        made = nn.Linear(*arrays["kernel"].shape, bias="bias" in arrays)
        _fill(torch, made.weight, arrays["kernel"].T)
        if "bias" in arrays:
            _fill(torch, made.bias, arrays["bias"])
        return made
    if layer.kind == "max":
        (top, bottom), (left, right) = settings["pads"]
        pool = nn.MaxPool2d(settings["window"], settings["strides"])
        return nn.Sequential(nn.ZeroPad2d((left, right, top, bottom)), pool) if top + bottom + left + right else pool
    made_: dict[str, Callable[[], Any]] = {
        "relu": lambda: (
            nn.ReLU(inplace=True) if settings["maximum"] is None else nn.Hardtanh(0, settings["maximum"], inplace=True)
        ),
        "average": lambda: nn.AvgPool2d(settings["window"], settings["strides"]),
        "mean": lambda: (
            nn.AdaptiveAvgPool2d(1) if settings["keep"] else nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())
        ),
        "pad": lambda: nn.ZeroPad2d((*settings["pads"][1], *settings["pads"][0])),
        "add": nn.Identity,
        "dropout": lambda: nn.Dropout(settings["rate"]),
        "vector": nn.Flatten,
        "maps": lambda: nn.Unflatten(1, (-1, 1, 1)),
        "softmax": lambda: nn.Softmax(1),
        "pass": nn.Identity,
    }
    return made_[layer.kind]()


def _torch_convolution(torch: Any, layer: Layer) -> Any:
    kernel, settings = layer.arrays["kernel"], layer.settings
    (top, bottom), (left, right) = settings["pads"]
    even = (top, left) == (bottom, right)
    groups = kernel.shape[2] if layer.kind == "depthwise" else settings["groups"]
    outputs = kernel.shape[2] * kernel.shape[3] if layer.kind == "depthwise" else kernel.shape[3]
    inputs = kernel.shape[2] * (1 if layer.kind == "depthwise" else groups)
    made = torch.nn.Conv2d(
        inputs,
        outputs,
        kernel.shape[:2],
        settings["strides"],
        (top, left) if even else 0,
        settings["dilation"],
        groups,
        bias="bias" in layer.arrays,
    )
    if layer.kind == "depthwise":
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    _fill(torch, made.weight, kernel.transpose(3, 2, 0, 1))
    if "bias" in layer.arrays:
        _fill(torch, made.bias, layer.arrays["bias"])
    return made if even else torch.nn.Sequential(torch.nn.ZeroPad2d((left, right, top, bottom)), made)


def _fill(torch: Any, tensor: Any, array: np.ndarray) -> None:
    with torch.no_grad():
        tensor.copy_(torch.from_numpy(np.ascontiguousarray(array)))
