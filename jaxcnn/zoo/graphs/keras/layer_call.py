"""A call of a layer while its nodes are made: values, options, weights."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.keras.configuration import LayerSpec
from jaxcnn.zoo.graphs.keras.options import Options
from jaxcnn.zoo.graphs.keras.parts import KerasParts

__all__ = ["Handler", "LayerCall", "UnknownLayer", "LayerValue"]


@dataclasses.dataclass(eq=False)
class LayerValue:
    """A value of the network.

    Attributes:
        name: Its name in the graph; set when the node that writes it is added.
        rank: Number of axes of one example.
        moved: Whether it is held channels last while the source's channels are first.
        lead: Leading axes of an example that a wrapper maps over, beside ``rank``.
        known: Whether the layers before it are; what follows an unknown layer is not imported.
    """

    name: str
    rank: int
    moved: bool = False
    lead: int = 0
    known: bool = True


class UnknownLayer(Exception):
    """A layer, or an option of a layer, that the importer does not know."""

    def __init__(self, what: str):
        """Names the operation for the list of unknown ones."""
        super().__init__(what)
        self.what = what


Handler = Callable[["LayerCall"], LayerValue]

COLLECTIONS = {"moving_mean": ("mean", "batch_stats"), "moving_variance": ("var", "batch_stats")}
_PATHS = {"gamma": "scale", "beta": "bias", "alpha": "slope"}


@dataclasses.dataclass(eq=False)
class _Pending:
    op: str
    inputs: Sequence[LayerValue]
    value: LayerValue
    options: Mapping[str, Any]
    parameters: Mapping[str, str]


class LayerCall:
    """What the handler of a class of layers works with.

    Args:
        parts: What the layers share.
        layer: The layer.
        path: Names of the models that it is in, and its own.
        args: Arguments of the call, with values for tensors.
        kwargs: Likewise, by name.
    """

    def __init__(
        self,
        parts: KerasParts,
        layer: LayerSpec,
        path: tuple[str, ...],
        args: Sequence[Any],
        kwargs: Mapping[str, Any],
    ):
        self.parts, self.layer, self.path = parts, layer, path
        self.args, self.kwargs = args, kwargs
        self.options = Options(layer.config, self.error)
        self.inputs = [one for one in _flatten([list(args), list(kwargs.values())]) if isinstance(one, LayerValue)]
        self._pending: list[_Pending] = []

    @property
    def label(self) -> str:
        """The name of the layer in the graph."""
        return "/".join(part for name in self.path for part in name.split("/") if part) or "unnamed"

    def error(self, reason: str) -> FormatError:
        """Builds an error that names the layer."""
        return self.parts.error(f"has a layer {self.label!r} ({self.layer.kind}) of which {reason}")

    def input(self, rank: int | None = None) -> LayerValue:
        """Returns the only input, of a rank if one is passed."""
        if len(self.inputs) != 1:
            raise self.error(f"the inputs must be one tensor, got {len(self.inputs)}.")
        value = self.inputs[0]
        if rank is not None and value.rank != rank:
            raise self.error(f"the input must have {rank + 1} axes, got {value.rank + 1}.")
        return value

    # Nodes.

    def add(
        self,
        op: str,
        *inputs: LayerValue,
        rank: int | None = None,
        moved: bool | None = None,
        parameters: Mapping[str, str] | None = None,
        **options: Any,
    ) -> LayerValue:
        """Adds a node; rank and order are those of the first input unless they are passed."""
        first = inputs[0]
        rank = first.rank if rank is None else rank
        moved = (first.moved if moved is None else moved) and rank > 1
        value = LayerValue("", rank, moved, first.lead)
        self._pending.append(_Pending(op, inputs, value, options, parameters or {}))
        return value

    def flush(self, results: Sequence[LayerValue]) -> list[LayerValue]:
        """Adds the nodes to the graph: the results are named like the layer, what is before them with the operation."""
        made = {id(one.value) for one in self._pending}
        named: list[LayerValue] = []
        for one in results:
            repeated = any(one is other for other in named)
            named.append(one if id(one) in made and not repeated else self.add("identity", one))
        last = {id(one): index for index, one in enumerate(named)}
        for one in self._pending:
            index = last.get(id(one.value))
            name = (
                f"{self.label}/{one.op}"
                if index is None
                else self.label
                if len(named) == 1
                else f"{self.label}:{index}"
            )
            one.value.name = self.parts.builder.add(
                one.op,
                name,
                [value.name for value in one.inputs],
                options=one.options,
                parameters=one.parameters,
                source=self.layer.kind,
            )
        return named

    # Order of axes.

    def images(self, value: LayerValue, rank: int, data_format: str | None = None) -> LayerValue:
        """Returns a value of a layer for images with its channels last.

        Args:
            value: The value.
            rank: Number of spatial axes.
            data_format: ``"channels_first"`` or ``"channels_last"``; None reads the layer's option.
        """
        first = (data_format or self.data_format()) == "channels_first"
        if value.rank != rank + 1:
            raise self.error(f"the input must have {rank + 2} axes, got {value.rank + 1}.")
        if value.moved == first:
            return value
        return self.move(value, first)

    def move(self, value: LayerValue, moved: bool) -> LayerValue:
        """Permutes a value so that its channels, first in the source, are held last, or back."""
        if value.moved == moved or value.rank < 2:
            return value
        axes = (*range(1, value.rank), 0) if moved else (value.rank - 1, *range(value.rank - 1))
        return self.permute(value, axes, moved=moved)

    def source(self, value: LayerValue) -> LayerValue:
        """Returns a value in the order of the source."""
        return self.move(value, False)

    def data_format(self) -> str:
        """Reads the order of the axes of images."""
        return self.options.choice("data_format", ("channels_first", "channels_last"), "channels_last")

    def axis(self, value: LayerValue, axis: Any, *, what: str = "axis") -> int:
        """Converts an axis of the source, which counts the batch, to a negative axis of the held value."""
        if isinstance(axis, list | tuple) and len(axis) == 1:
            axis = axis[0]
        rank = value.rank
        if not isinstance(axis, int) or isinstance(axis, bool) or not -rank <= axis <= rank or axis == 0:
            raise self.error(
                f"{what} must be an axis of an input of {rank + 1} axes other than the batch, got {axis!r}."
            )
        index = axis - 1 if axis > 0 else axis + rank
        return self.held(value, index)

    def held(self, value: LayerValue, index: int) -> int:
        """Converts an axis of an example in the source to a negative axis of the held value."""
        held = (index - 1) % value.rank if value.moved else index
        return held - value.rank

    def axes(self, value: LayerValue, axes: Any, *, what: str = "axis") -> tuple[int, ...]:
        """Converts one or several axes."""
        listed = axes if isinstance(axes, list | tuple) else [axes]
        found = tuple(self.axis(value, one, what=what) for one in listed)
        if len(set(found)) != len(found) or not found:
            raise self.error(f"{what} must be different axes, got {axes!r}.")
        return found

    # Operations on all axes, which must leave those of a wrapper alone.

    def permute(self, value: LayerValue, axes: Sequence[int], *, moved: bool = False) -> LayerValue:
        """Reorders the axes of an example."""
        lead = value.lead
        order = (*range(lead), *(lead + axis for axis in axes))
        return self.add("permute", value, moved=moved, axes=order)

    def reshape(self, value: LayerValue, shape: Sequence[int]) -> LayerValue:
        """Reshapes an example."""
        return self.add("reshape", value, rank=len(shape), moved=False, shape=(*(None,) * value.lead, *shape))

    def pad(self, value: LayerValue, pairs: Sequence[tuple[int, int]], **options: Any) -> LayerValue:
        """Pads the spatial axes of images that are held channels last; negative numbers crop."""
        return self.add("pad", value, padding=(*((0, 0),) * value.lead, *pairs, (0, 0)), **options)

    def slice(self, value: LayerValue, ranges: Sequence[slice], *, rank: int | None = None) -> LayerValue:
        """Slices the axes of an example."""
        parts = (*(slice(None),) * value.lead, *ranges)
        begin, end, strides = (tuple(getattr(one, key) for one in parts) for key in ("start", "stop", "step"))
        return self.add("slice", value, rank=rank, begin=begin, end=end, strides=strides)

    # Weights.

    def weight(self, role: str, shape: Sequence[int | None] | None) -> np.ndarray | None:
        """Returns a weight of the layer; one that is missing or has another shape is recorded, and None."""
        return self.parts.find_weight(self.path, self.layer, role, shape)

    def parameter(self, role: str, array: np.ndarray | None, *, name: str | None = None) -> str:
        """Adds an array to the parameters and returns its path; the calls of a layer share it."""
        name, collection = COLLECTIONS.get(role, (name or _PATHS.get(role, role), "params"))
        return self.parts.add_parameter(f"{self.label}/{name}", array, collection)

    def constant(self, name: str, array: np.ndarray | np.generic) -> str:
        """Adds an array that is not trained, and returns its path."""
        return self.parts.add_parameter(f"{self.label}/{name}", np.asarray(array), "constants")

    def parameters(self, **shapes: Sequence[int | None]) -> dict[str, str]:
        """Adds those weights of the layer that its options turn on, by their roles and expected shapes."""
        found = {}
        for role in self.parts.list_roles(self.layer):
            if role in shapes:
                name = COLLECTIONS.get(role, (_PATHS.get(role, role),))[0]
                found[name] = self.parameter(role, self.weight(role, shapes[role]))
        return found


def _flatten(structure: Any) -> list[Any]:
    if isinstance(structure, list | tuple):
        return [leaf for one in structure for leaf in _flatten(one)]
    if isinstance(structure, Mapping):
        return [leaf for one in structure.values() for leaf in _flatten(one)]
    return [structure]
