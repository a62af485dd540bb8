"""Indexing of tensors in models of Keras."""

from typing import Any

from jaxcnn.zoo.graphs.keras.layer_call import LayerCall, LayerValue, UnknownLayer
from jaxcnn.zoo.graphs.keras.options import is_integer

__all__ = ["take_items"]


def take_items(call: LayerCall, value: LayerValue, key: Any) -> LayerValue:
    """Adds ``x[key]``: slices, integers, new axes and an ellipsis, all behind the whole batch.

    Args:
        call: The call of the layer.
        value: x.
        key: The key, or a list of several.

    Returns:
        The result, in the order of the source.
    """
    x = call.source(value)
    parts = list(key) if isinstance(key, list | tuple) else [key]
    if not all(one is None or one is Ellipsis or isinstance(one, slice) or is_integer(one) for one in parts):
        raise UnknownLayer(f"{call.layer.kind} whose key is not made of integers and slices")
    used = sum(one is not None and one is not Ellipsis for one in parts)
    missing = x.rank + 1 - used
    if missing < 0 or parts.count(Ellipsis) > 1:
        raise call.error(f"the key has more axes than the input, which has {x.rank + 1}.")
    if Ellipsis in parts:
        place = parts.index(Ellipsis)
        parts[place : place + 1] = [slice(None)] * missing
    else:
        parts += [slice(None)] * missing
    if parts[0] != slice(None):
        raise UnknownLayer(f"{call.layer.kind} that cuts the batch")
    ranges, dropped, added = [], [], []
    for one in parts[1:]:
        if one is None:
            added.append(len(ranges) - len(dropped) + len(added))
            continue
        if is_integer(one):
            dropped.append(len(ranges))
            one = slice(one, one + 1 if one != -1 else None)
        ranges.append(one)
    if any(one != slice(None) for one in ranges):
        x = call.slice(x, ranges)
    if dropped:
        x = call.add("squeeze", x, rank=x.rank - len(dropped), axes=[axis - len(ranges) for axis in dropped])
    for axis in added:
        x = call.add("expand_dims", x, rank=x.rank + 1, axis=axis - x.rank - 1)
    return x
