"""Another classifier, or none, at the end of a network that has its weights."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxcnn import models
from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import PRNGKey, Variables
from jaxcnn.graphs.heads import replace_head
from jaxcnn.graphs.network import GraphNetwork
from jaxcnn.models._options import find_options
from jaxcnn.zoo.variable_shapes import find_variable_shapes

__all__ = ["replace_classifier"]

Shape = tuple[int | None, int | None, int | None]


def replace_classifier(
    model: nn.Module, variables: Variables, key: PRNGKey, num_classes: int | None, *, input_shape: Shape
) -> tuple[nn.Module, dict[str, Any]]:
    """Replaces the classifier of a network by a new one, or removes it.

    Args:
        model: A network of a file, or a model of ``models.create``.
        variables: Its variables.
        key: A key.
        num_classes: Number of classes; None returns the features.
        input_shape: Height, width and channels of the input; a model of ``models.create`` needs them.

    Returns:
        The new module and its variables: the values of the new layer are new, all others are kept.

    Raises:
        ValueError: If the network is of neither kind, does not end in a classifier, or its input is not known.
    """
    possible = num_classes is None or is_integer_at_least(num_classes, 1)
    check(possible, "with_head", "num_classes", "None or a positive integer", repr(num_classes))
    if isinstance(model, GraphNetwork):
        return _replace_in_graph(model, variables, key, num_classes)
    found = find_options(model)
    if found is None:
        raise ValueError(
            "with_head: model must be a network of a file or a model of models.create, whose classifiers are known, "
            f"got {type(model).__name__}."
        )
    name, options = found
    if any(size is None for size in input_shape):
        raise ValueError(
            f"with_head: input_shape must be known to build {name!r} again, got {input_shape}; set it by "
            "dataclasses.replace(pretrained, input_shape=(height, width, channels))."
        )
    example = jax.ShapeDtypeStruct((1, *(size or 1 for size in input_shape)), jnp.float32)
    new = models.create(name, **{**options, "num_classes": num_classes})
    return new, _keep_values(new, name, options, variables, key, example)


def _replace_in_graph(
    model: GraphNetwork, variables: Variables, key: PRNGKey, num_classes: int | None
) -> tuple[nn.Module, dict[str, Any]]:
    graph = replace_head(model.selected(), num_classes)
    network = GraphNetwork(graph, dtype=model.dtype, param_dtype=model.param_dtype)
    old = traverse_util.flatten_dict(variables)
    flat = {}
    for one in graph.parameters:
        path = (one.collection, *one.path.split("/"))
        if path in old:
            flat[path] = old[path]
        elif one.path.endswith("/kernel"):
            flat[path] = nn.initializers.lecun_normal()(key, one.shape, network.param_dtype)
        else:
            flat[path] = jnp.zeros(one.shape, network.param_dtype)
    return network, traverse_util.unflatten_dict(flat)


def _keep_values(
    new: nn.Module,
    name: str,
    options: Mapping[str, Any],
    variables: Variables,
    key: PRNGKey,
    example: jax.ShapeDtypeStruct,
) -> dict[str, Any]:
    """Initializes the parameters whose shape depends on the number of classes, and takes the others."""
    classes = options["num_classes"]
    shapes = find_variable_shapes(new, example)
    if options.get("num_classes") is None:
        own = set(find_variable_shapes(models.create(name, **options), example))
    else:
        now, other = (
            find_variable_shapes(models.create(name, **{**options, "num_classes": n}), example)
            for n in (classes, classes + 1)
        )
        own = {path for path, leaf in now.items() if other[path].shape == leaf.shape}
    old: dict[tuple[str, ...], Any] = traverse_util.flatten_dict(variables)
    kept = {path: old[path] for path in shapes if path in own and path in old}
    changed = [path for path, value in kept.items() if value.shape != shapes[path].shape]
    check(not changed, "with_head", "variables", "those of the model", ["/".join(path) for path in changed])
    if len(kept) < len(shapes):
        zeros = jnp.zeros(example.shape, example.dtype)
        fresh = traverse_util.flatten_dict(jax.jit(new.init)(key, zeros))
        kept = {path: kept.get(path, fresh[path]) for path in shapes}
    return traverse_util.unflatten_dict(kept)
