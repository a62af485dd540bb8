"""The Linen module that runs a graph."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import Scope

from jaxcnn._check import check
from jaxcnn._typing import AnyArray, Array, Dtype, Num
from jaxcnn.graphs.execution import prepare_inputs, run_graph
from jaxcnn.graphs.graph import Graph

__all__ = ["GraphNetwork"]

_INITIALIZERS = {
    "kernel": nn.initializers.lecun_normal(),
    "depthwise_kernel": nn.initializers.lecun_normal(),
    "pointwise_kernel": nn.initializers.lecun_normal(),
    "table": nn.initializers.normal(0.02),
    "scale": nn.initializers.ones,
    "var": nn.initializers.ones,
    "slope": nn.initializers.constant(0.25),
}


def _declare(scope: Scope, graph: Graph, param_dtype: Dtype) -> dict[str, Any]:
    """Declares the parameters in a tree by their paths.

    Levels of the tree are scopes and no modules, because a module may not be named like its attributes, and files name
    their layers ``"outputs"`` or ``"init"``.

    Returns:
        Path to the array or, of statistics and constants, the variable.
    """
    roles = {path: role for node in graph.nodes for role, path in node.parameters.items()}
    scopes: dict[tuple[str, ...], Scope] = {(): scope}
    declared: dict[str, Any] = {}
    for one in graph.parameters:
        *levels, name = one.path.split("/")
        for depth in range(1, len(levels) + 1):
            if (key := tuple(levels[:depth])) not in scopes:
                scopes[key] = scopes[key[:-1]].push(key[-1])
        here, role = scopes[tuple(levels)], roles.get(one.path, "")
        initializer = _INITIALIZERS.get(role, nn.initializers.zeros)
        if len(one.shape) < 2 and "kernel" in role:
            initializer = nn.initializers.normal(0.02)
        dtype = jnp.dtype(one.dtype)
        dtype = jnp.dtype(param_dtype) if jnp.issubdtype(dtype, jnp.floating) else dtype
        if one.collection == "params":
            declared[one.path] = here.param(name, initializer, one.shape, dtype)
        else:
            dtype = jnp.promote_types(dtype, jnp.float32) if one.collection == "batch_stats" else dtype
            declared[one.path] = here.variable(one.collection, name, _fill, initializer, one.shape, dtype)
    return declared


def _fill(initializer: Any, shape: tuple[int, ...], dtype: Dtype) -> jax.Array:
    """Computes the first value of a variable that is not trained; it is never random."""
    return initializer(jax.random.key(0), shape, dtype)


class GraphNetwork(nn.Module):
    """Runs a network that is described as data.

    An ordinary module: it can be jitted, differentiated, mapped and trained. Batch axes are free, and so are the
    heights and widths of images where the network allows it.

    Convention:
        Images are channels last, whatever the source's order. Parameters are under the source's names of layers:
        ``params["conv1"]["kernel"]``; a ``/`` in a name is a level of the tree. Running means and variances are in
        ``"batch_stats"``, constants that no optimizer should change in ``"constants"``. Random operations draw
        from the rng collection ``"dropout"`` in training mode.

    Args:
        graph: The network.
        outputs: Values to return instead of the graph's outputs: names of values, or the source's names of layers.
            Only what they need is computed, and only its parameters are declared.
        dtype: Floating dtype of the computation; None promotes inputs and parameters.
        param_dtype: Floating dtype of the parameters.

    Raises:
        ValueError: If inputs or names of outputs do not fit.
        GraphError: If an operation does not fit its arrays, such as an image that is too small.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.graphs import Graph, GraphNetwork, Input, Node, Parameter
        >>> graph = Graph(
        ...     inputs=(Input("image", (8, 8, 3)),),
        ...     nodes=(
        ...         Node("conv1", "conv", ("image",), parameters={"kernel": "conv1/kernel"}),
        ...         Node("pool", "global_avg_pool", ("conv1",)),
        ...     ),
        ...     outputs=("pool",),
        ...     parameters=(Parameter("conv1/kernel", (3, 3, 3, 4)),),
        ... )
        >>> model = GraphNetwork(graph)
        >>> variables = model.init(jax.random.key(0), jnp.ones((1, 8, 8, 3)))
        >>> variables["params"]["conv1"]["kernel"].shape
        (3, 3, 3, 4)
        >>> model.apply(variables, jnp.ones((2, 12, 12, 3))).shape
        (2, 4)
        >>> model.clone(outputs=("conv1",)).apply(variables, jnp.ones((12, 12, 3))).shape
        (10, 10, 4)
    """

    graph: Graph
    outputs: tuple[str, ...] | None = None
    dtype: Dtype | None = None
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: Num[AnyArray, "*shape"] | Mapping[str, Num[AnyArray, "..."]], *, train: bool = False
    ) -> Num[Array, "*out"] | dict[str, Num[Array, "..."]]:
        """Returns the output, or a dictionary if there are several; ``x`` maps the inputs where there are several."""
        graph = self.selected()
        inputs, batch = prepare_inputs(graph, x)
        assert self.scope is not None  # inside of apply and init
        declared = _declare(self.scope, graph, self.param_dtype)
        arrays = {path: one.value if isinstance(one, nn.Variable) else one for path, one in declared.items()}

        def update(path: str, value: jax.Array) -> None:
            if not self.is_initializing() and self.is_mutable_collection("batch_stats"):
                declared[path].value = value.astype(declared[path].value.dtype)

        shared: list[jax.Array] = []

        def draw() -> jax.Array:
            if not shared:
                shared.append(self.make_rng("dropout"))
            return shared[0]

        training = train and not self.is_initializing()
        found = run_graph(graph, arrays, inputs, batch, train=training, key=draw, dtype=self.dtype, update=update)
        if self.outputs is None:
            return found[graph.outputs[0]] if len(graph.outputs) == 1 else found
        if len(self.outputs) == 1:
            return found[graph.outputs[0]]
        return {name: found[self.graph.find_value(name)] for name in self.outputs}

    def selected(self) -> Graph:
        """Returns the part of the graph that computes the outputs."""
        if self.outputs is None:
            return self.graph
        names = isinstance(self.outputs, tuple | list) and len(set(self.outputs)) == len(self.outputs)
        check(names and len(self.outputs) > 0, "graph", "outputs", "different names of layers", repr(self.outputs))
        return self.graph.select(self.outputs)
