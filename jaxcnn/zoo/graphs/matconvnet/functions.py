"""Layers of MatConvNet that have no parameters."""

from collections.abc import Mapping

from jaxcnn.zoo.graphs.matconvnet.layers import MatLayer
from jaxcnn.zoo.graphs.matconvnet.network import MatNetwork, Rule, Variable

__all__ = ["FUNCTION_RULES"]


def _apply(op: str) -> Rule:
    """Returns the rule of a layer that is one operation without options."""

    def rule(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
        return Variable(net.add(op, layer, [inputs[0].value]), inputs[0].channels)

    return rule


def _rectify(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    leak = net.fields(layer).number("leak", 0.0)
    options = {"negative_slope": leak} if leak > 0 else {}
    return Variable(net.add("relu", layer, [inputs[0].value], options=options), inputs[0].channels)


def _drop(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    rate = net.fields(layer).number("rate", 0.5)
    if not 0 <= rate <= 1:
        raise net.error(layer, f"rate must be in [0, 1], got {rate}.")
    return Variable(net.add("dropout", layer, [inputs[0].value], options={"rate": rate}), inputs[0].channels)


def _pool(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Pools windows that lie in the padded map as a whole; averages do not count the padding."""
    fields = net.fields(layer)
    if fields.find("pool") is None:
        raise net.error(layer, "it has no size of the window.")
    method = fields.values.get("method", "max")
    if method not in ("max", "avg"):
        raise net.error(layer, f"method must be 'max' or 'avg', got {method!r:.60}.")
    options = {
        "window": fields.pair("pool", 1, least=1),
        "strides": fields.pair("stride", 1, least=1),
        "padding": fields.sides("pad"),
    }
    op = "max_pool" if method == "max" else "avg_pool"
    return Variable(net.add(op, layer, [inputs[0].value], options=options), inputs[0].channels)


def _normalize_across(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Divides by (kappa + alpha * sum of squares over N channels) ** beta."""
    size, kappa, alpha, beta = net.fields(layer).numbers("param", (5.0, 1.0, 0.0001 / 5, 0.75))
    if size != int(size) or not 1 <= size <= 2**16:
        raise net.error(layer, f"param must begin with a number of channels, got {size}.")
    options = {"size": int(size), "alpha": alpha, "beta": beta, "bias": kappa}
    return Variable(net.add("lrn", layer, [inputs[0].value], options=options), inputs[0].channels)


def _normalize_within(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Divides by (1 + alpha * mean of squares around) ** beta; the mean does not count the padding."""
    if net.fields(layer).find("param") is None:
        raise net.error(layer, "it has no param: height, width, alpha, beta.")
    *size, alpha, beta = net.fields(layer).numbers("param", (1.0, 1.0, 0.0, 0.0))
    if not all(n == int(n) and 1 <= n <= 2**16 for n in size):
        raise net.error(layer, f"param must begin with height and width of the window, got {size}.")
    options = {"size": tuple(int(n) for n in size), "alpha": alpha, "beta": beta, "count_include_pad": False}
    return Variable(net.add("lrn_within_channel", layer, [inputs[0].value], options=options), inputs[0].channels)


def _normalize_power(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Divides by (sum of p-th powers over channels + epsilon) ** (1 / p)."""
    fields = net.fields(layer)
    power, epsilon = fields.number("p", 2.0), fields.number("epsilon", 0.01)
    for name in ("spatial", "standardize", "subtractMean"):  # of forks
        if fields.flag(name, False):
            net.builder.add_unknown(f"{layer.source} with {name}", layer.name, layer.position)
    if power <= 0:
        raise net.error(layer, f"p must be positive, got {power}.")
    value = inputs[0].value
    if power == 2:
        options = {"epsilon": epsilon, "rule": "add"}
        return Variable(net.add("l2_normalize", layer, [value], options=options), inputs[0].channels)
    powers = net.add("power", layer, [value], part="powers", options={"power": power})
    total = net.add("reduce_sum", layer, [powers], part="sum", options={"axes": (-1,), "keepdims": True})
    length = net.add("power", layer, [total], part="length", options={"power": 1 / power, "shift": epsilon})
    return Variable(net.add("divide", layer, [value, length]), inputs[0].channels)


def _offset_by_norm(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Subtracts a * (sum of squares over channels) ** b."""
    if net.fields(layer).find("param") is None:
        raise net.error(layer, "it has no param: factor and exponent.")
    factor, power = net.fields(layer).numbers("param", (0.0, 1.0))
    squares = net.add("square", layer, [inputs[0].value], part="squares")
    total = net.add("reduce_sum", layer, [squares], part="sum", options={"axes": (-1,), "keepdims": True})
    least = net.add("maximum", layer, [total], part="maximum", options={"value": 1e-8})
    norm = net.add("power", layer, [least], part="power", options={"power": power})
    offset = net.add("rescale", layer, [norm], part="offset", options={"scale": factor})
    return Variable(net.add("subtract", layer, [inputs[0].value, offset]), inputs[0].channels)


def _add(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    known = [one.channels for one in inputs if one.channels is not None]
    if len({*known} - {1}) > 1:
        raise net.error(layer, f"it adds variables of {' and '.join(map(str, known[:8]))} channels.")
    op = "add" if len(inputs) > 1 else "identity"
    return Variable(net.add(op, layer, [one.value for one in inputs]), max(known, default=None))


def _concatenate(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    axis = net.fields(layer).integers("dim", 3, least=1, counts=(1,))[0]
    if axis > 3:
        raise net.error(layer, f"dim must be 1, 2 or 3, got {axis}.")
    channels = [one.channels for one in inputs]
    total = channels[0] if axis < 3 else None if None in channels else sum(one for one in channels if one is not None)
    return Variable(net.add("concat", layer, [one.value for one in inputs], options={"axis": axis - 1}), total)


def _crop(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Crops the first input to the size of the second; what is cut off before is reduced where too little is left."""
    offsets = net.fields(layer).pair("crop", 0)
    values = [one.value for one in inputs]
    value = net.add("crop_like", layer, values, options={"offsets": offsets, "clip": True})
    return Variable(value, inputs[0].channels)


def _flatten(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    """Moves all values to one axis in MATLAB's order, rows first."""
    axis = net.fields(layer).integers("axis", 3, least=1, counts=(1,))[0]
    if axis > 3:
        raise net.error(layer, f"axis must be 1, 2 or 3, got {axis}.")
    order = net.add("permute", layer, [inputs[0].value], part="order", options={"axes": (2, 1, 0)})
    shape = tuple(-1 if place == axis else 1 for place in (1, 2, 3))
    return Variable(net.add("reshape", layer, [order], options={"shape": shape}), None)


def _permute(net: MatNetwork, layer: MatLayer, inputs: list[Variable]) -> Variable:
    order = net.fields(layer).integers("order", 0, least=1, counts=(3, 4))
    if sorted(order[:3]) != [1, 2, 3] or order[3:] not in ([], [4]):
        raise net.error(layer, f"order must be an order of the first three axes, got {order}.")
    axes = tuple(one - 1 for one in order[:3])
    value = net.add("permute", layer, [inputs[0].value], options={"axes": axes})
    return Variable(value, inputs[0].channels if axes[2] == 2 else None)


FUNCTION_RULES: Mapping[str, tuple[int, int | None, Rule]] = {
    "concat": (1, None, _concatenate),
    "crop": (2, 2, _crop),
    "dropout": (1, 1, _drop),
    "flatten": (1, 1, _flatten),
    "noffset": (1, 1, _offset_by_norm),
    "normalize": (1, 1, _normalize_across),
    "normalizelp": (1, 1, _normalize_power),
    "permute": (1, 1, _permute),
    "pool": (1, 1, _pool),
    "relu": (1, 1, _rectify),
    "sigmoid": (1, 1, _apply("sigmoid")),
    "softmax": (1, 1, _apply("softmax")),
    "spnorm": (1, 1, _normalize_within),
    "sum": (1, None, _add),
    "tanh": (1, 1, _apply("tanh")),
}
"""Kind of layer to the fewest and the most inputs, and its rule."""
