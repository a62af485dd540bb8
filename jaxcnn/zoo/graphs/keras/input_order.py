"""Whether an input of a model is an image whose channels are first."""

from collections.abc import Iterator, Mapping

from jaxcnn.zoo.graphs.keras.configuration import LayerSpec, ModelSpec, Reference, list_references

__all__ = ["is_channels_first"]

_REORDERING = ("Flatten", "Reshape", "Permute", "RepeatVector", "Dense", "Transpose", "GetItem", "TFOpLambda", "Lambda")
_MOST = 20_000  # of readers that are looked at


def is_channels_first(model: ModelSpec, reference: Reference) -> bool:
    """Tests whether the first layer for images that an input reaches has its channels first.

    Args:
        model: The model.
        reference: The input.

    Returns:
        What that layer states; False if there is none.

    Example:
        >>> from jaxcnn.zoo.graphs.keras.configuration import Call, LayerSpec, ModelSpec, Reference
        >>> from jaxcnn.zoo.graphs.keras.input_order import is_channels_first
        >>> start = Reference("image")
        >>> conv = LayerSpec("Conv2D", "conv", {"data_format": "channels_first"}, (Call((start,)),))
        >>> model = ModelSpec("model", {"conv": conv}, start, Reference("conv"))
        >>> is_channels_first(model, start)
        True
    """
    waiting: list[tuple[ModelSpec, Reference]] = [(model, reference)]
    seen = {(id(model), reference)}
    for place in range(_MOST):
        if place >= len(waiting):
            break
        inside, one = waiting[place]
        for layer, number in _find_readers(inside, one):
            stated = layer.config.get("data_format")
            if isinstance(stated, str) and layer.kind not in _REORDERING and layer.model is None:
                return stated == "channels_first"
            if layer.kind in _REORDERING or layer.kind == "TimeDistributed":
                continue
            following = [(inside, Reference(layer.name, number))]
            if layer.model is not None:
                inner = layer.model.input_references
                following = [(layer.model, start) for start in inner] + following
            for step in following:
                key = (id(step[0]), step[1])
                if key not in seen:
                    seen.add(key)
                    waiting.append(step)
    return False


def _find_readers(model: ModelSpec, reference: Reference) -> Iterator[tuple[LayerSpec, int]]:
    """Yields the layers that read a tensor, and the numbers of the calls."""
    readers = _index(model)
    yield from readers.get((reference.layer, reference.call), ())


def _index(model: ModelSpec) -> Mapping[tuple[str, int], list[tuple[LayerSpec, int]]]:
    """Lists the readers of every tensor of a model, once."""
    found = vars(model).get("_readers")
    if found is None:
        found = {}
        for layer in model.layers.values():
            for number, call in enumerate(layer.calls):
                for one in list_references([list(call.args)]):
                    found.setdefault((one.layer, one.call), []).append((layer, number))
        vars(model)["_readers"] = found
    return found
