"""One operator of a TensorFlow Lite model while it is imported, and the network that it becomes part of."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn.graphs.cost import infer_outputs
from jaxcnn.zoo.graphs.builder import GraphBuilder, translate_graph_errors
from jaxcnn.zoo.graphs.tflite.names import find_layer_name, find_value_name, remove_prefix
from jaxcnn.zoo.graphs.tflite.values import Constant, Size, Value, concrete

__all__ = ["Handler", "Held", "NetworkState", "Operator"]

Held = Value | Constant

MAX_RANK = 8
"""Axes of a tensor; TensorFlow Lite's own operators have at most six."""


class NetworkState:
    """What all operators of a model share.

    Attributes:
        builder: Collects the nodes.
        batch: Size of the batch in the file.
        held: The source's name of a tensor to what it is.
        values: Name of a value in the graph to the value.
        prefix: Words that the names of all layers begin with.
    """

    def __init__(self, builder: GraphBuilder, batch: int, prefix: Sequence[str] = ()):
        self.builder, self.batch, self.prefix = builder, batch, tuple(prefix)
        self.held: dict[str, Held] = {}
        self.values: dict[str, Value] = {}
        self.parameters: dict[tuple[str, str], str] = {}
        self._leaves: set[str] = set()
        self._inner: set[str] = set()

    def add_array(self, key: tuple[str, str], layer: str, role: str, array: np.ndarray, collection: str) -> str:
        """Adds an array under a path that fits into the tree; the same key gives the same path."""
        if key in self.parameters:
            return self.parameters[key]
        words = [word for word in layer.split("/") if word] or ["layer"]
        base, number = "/".join(words), 0
        while True:
            path = f"{base}_{number}/{role}" if number else f"{base}/{role}"
            above = {path[:at] for at, letter in enumerate(path) if letter == "/"}
            if path not in self._leaves and path not in self._inner and not above & self._leaves:
                break
            number += 1
        self._leaves.add(path)
        self._inner |= above
        self.builder.add_parameter(path, np.ascontiguousarray(array), collection=collection)
        self.parameters[key] = path
        return path


@dataclasses.dataclass
class Operator:
    """One operator while it is imported.

    Attributes:
        state: The network so far.
        op: Its name.
        options: Its options.
        inputs: What its inputs are; None for those left out.
        outputs: Names of its outputs.
        dtypes: Names of the outputs' dtypes.
        input_names: Names of its inputs.
        limit: Where the first output is quantized from 0 on, which cuts off what is negative: its largest number.
    """

    state: NetworkState
    op: str
    options: Mapping[str, Any]
    inputs: Sequence[Held | None]
    outputs: Sequence[str]
    dtypes: Sequence[str]
    input_names: Sequence[str | None]
    limit: float | None = None

    def __post_init__(self) -> None:
        """Chooses the name of the layer, and of its nodes: the source's name of a tensor is that of the last one."""
        self.layer = self.name = self._find_name()
        self._last = ""
        if self.option("activation", "NONE") != "NONE" and self.layer in self.outputs:
            self.name, self._last = f"{self.layer}/linear", self.layer

    def _find_name(self) -> str:
        kernels = [name for name, one in zip(self.input_names, self.inputs, strict=True) if isinstance(one, Constant)]
        found = None
        if self.op in ("CONV_2D", "DEPTHWISE_CONV_2D", "TRANSPOSE_CONV", "FULLY_CONNECTED", "BATCH_MATMUL"):
            found = find_layer_name([name for name in (*kernels, *self.outputs) if name])
        elif self.outputs:
            found = find_value_name(self.outputs[0])
        return remove_prefix(found, self.state.prefix) if found else self.op.lower()

    # Inputs

    @property
    def x(self) -> Value:
        """The first input, a value."""
        return self.value(0)

    def held(self, at: int) -> Held:
        """Returns an input."""
        one = self.inputs[at] if at < len(self.inputs) else None
        if one is None:
            raise ValueError(f"it lacks input {at}.")
        return one

    def has(self, at: int) -> bool:
        """Tests whether an input is given."""
        return at < len(self.inputs) and self.inputs[at] is not None

    def value(self, at: int) -> Value:
        """Returns an input as a value of the graph; a constant becomes a node."""
        one = self.held(at)
        if isinstance(one, Value):
            return one
        array = concrete(one.array)
        if array.dtype not in (np.float32, np.float16, np.int32, np.bool_):
            array = array.astype(np.int32 if array.dtype.kind in "iub" else np.float32)
        path = self.state.add_array((one.name, "constant"), self.layer_of(one), "constant", array, "constants")
        return self.add("constant", [], parameters={"constant": path}, batch=None, name=path)

    def layer_of(self, one: Constant) -> str:
        """Names the layer that a constant belongs to."""
        found = find_value_name(one.name)
        return remove_prefix(found, self.state.prefix) if found else self.layer

    def stored(self, at: int) -> Constant:
        """Returns an input that must be a constant."""
        one = self.held(at)
        if isinstance(one, Value):
            raise ValueError(f"its input {at} is computed from the network's input, which is not supported.")
        return one

    def constant(self, at: int) -> np.ndarray:
        """Returns the numbers of an input that must be a constant."""
        return concrete(self.stored(at).array)

    def sizes(self, at: int) -> list[int | Size]:
        """Returns an input that must be a constant vector, with the sizes of values in it."""
        flat = self.stored(at).array.reshape(-1)
        if flat.size > 4096 or flat.dtype.kind not in "iuO":
            raise ValueError(f"its input {at} must hold a few integers, got {flat.size} of dtype {flat.dtype}.")
        return [number if isinstance(number, Size) else int(number) for number in flat]

    def integers(self, at: int) -> list[int]:
        """Returns an input that must be a constant vector, as numbers."""
        return [int(number) for number in self.sizes(at)]

    def integer(self, at: int) -> int:
        """Returns an input that must be one constant integer."""
        (number,) = self.integers(at)
        return number

    def option(self, name: str, default: Any = None) -> Any:
        """Returns an option; the default where the file has no table of options."""
        return self.options.get(name, default)

    def stride(self, name: str, *, low: int = 1) -> tuple[int, int]:
        """Returns an option that has a value for rows and one for columns."""
        found = tuple(self.option(f"{name}_{axis}", 1) for axis in "hw")
        if not all(low <= one < 2**16 for one in found):
            raise ValueError(f"{name} must be positive numbers, got {found}.")
        return found[0], found[1]

    def padding(self) -> str:
        """Returns the rule of padding."""
        if self.option("padding") not in ("SAME", "VALID"):
            raise ValueError(f"the padding must be SAME or VALID, got {self.option('padding')!r}.")
        return self.option("padding")

    # Nodes

    def add(
        self,
        op: str,
        inputs: Sequence[Value],
        *,
        options: Mapping[str, Any] | None = None,
        parameters: Mapping[str, str] | None = None,
        batch: int | None = 0,
        block: tuple[int, int] | None = None,
        name: str | None = None,
        count: int | None = None,
    ) -> Any:
        """Adds a node.

        Args:
            op: The operation of the graph.
            inputs: Its inputs.
            options: Its options.
            parameters: Role to path.
            batch: Where the source's result has its batch.
            block: Size of the blocks in which the source holds it.
            name: Name of the node; by default that of the operator.
            count: Number of outputs of an operation with several.

        Returns:
            The value, or with ``count`` a list of them.
        """
        builder = self.state.builder
        names, source = [one.name for one in inputs], self.op
        name = name or self.name
        if count is None:
            builder.add(op, name, names, options=options, parameters=parameters, source=source)
        else:
            builder.add_several(op, name, names, count, options=options or {}, source=source)
        node = builder.nodes[-1]
        read = [jax.ShapeDtypeStruct((1, *one.shape), jnp.dtype(one.dtype)) for one in inputs]
        roles = {
            role: jax.ShapeDtypeStruct(builder.parameters[path].shape, jnp.dtype(builder.parameters[path].dtype))
            for role, path in node.parameters.items()
        }
        with translate_graph_errors(builder.path):
            found = infer_outputs(node, read, roles)
        weighted = "kernel" in node.parameters or any(one.weighted for one in inputs)
        values = []
        for written, one in zip(node.outputs, found, strict=True):
            if one.ndim > MAX_RANK:
                raise ValueError(f"its output has {one.ndim} axes.")
            value = Value(written, one.shape[1:], one.dtype.name, batch, block, weighted)
            self.state.values[written] = value
            values.append(value)
        return values if count is not None else values[0]

    def follow(self, op: str, x: Value, **options: Any) -> Value:
        """Adds a node that computes each number of a value on its own, or along the last axis."""
        return self.add(op, [x], options=options, batch=x.batch, block=x.block)

    def activate(self, x: Value, activation: str | None = None) -> Value:
        """Adds the activation that the operator ends with."""
        kind = self.option("activation", "NONE") if activation is None else activation
        if kind == "NONE":
            return x if self.limit is None else self._cut(x)
        if kind not in FUSED:
            raise ValueError(f"the activation {kind!r} is not supported.")
        op, options = FUSED[kind]
        return self.add(
            op, [x], options=options, batch=x.batch, block=x.block, name=self._last or f"{self.name}/{kind.lower()}"
        )

    def _cut(self, x: Value) -> Value:
        """Rectifies where quantization does: early converters removed activations that change no stored number."""
        self.state.builder.note("Where the stored numbers of a layer begin at 0 it is rectified, as storing them does.")
        limit = self.limit or 0.0
        options = {"max_value": 6.0 if limit > 5.9 else limit} if limit < 6.1 else {}
        return self.add("relu", [x], options=options, batch=x.batch, block=x.block, name=f"{self.name}/relu")

    def spatial(self) -> Value:
        """Returns the first input, which must be maps (batch, height, width, channels)."""
        x = self.x
        if x.rank != 4 or x.batch not in (0, None):
            raise ValueError(f"its input must be maps (batch, height, width, channels), got the shape {x.shape}.")
        return x


Handler = Callable[[Operator], Held | Sequence[Held]]

FUSED: dict[str, tuple[str, dict[str, Any]]] = {
    "RELU": ("relu", {}),
    "RELU6": ("relu", {"max_value": 6.0}),
    "RELU_N1_TO_1": ("clip", {"minimum": -1.0, "maximum": 1.0}),
    "RELU_0_TO_1": ("clip", {"minimum": 0.0, "maximum": 1.0}),
    "TANH": ("tanh", {}),
}
"""Activations, as operators and at the end of others: to the operation of graphs and its options."""
