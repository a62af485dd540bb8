"""Freezing parts of a model by the prefix of their path: parameters, statistics and optimizer state."""

import contextlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from flax import traverse_util

from jaxcnn._check import check
from jaxcnn._typing import PyTree, Variables

__all__ = ["check_prefixes", "freeze", "frozen_mask", "keep_frozen", "norm_behavior"]


def _parts(prefix: str) -> tuple[str, ...]:
    return tuple(prefix.strip("/").split("/"))


def _under(path: Sequence[str], prefixes: Sequence[str]) -> bool:
    """Returns whether a path lies under one of the prefixes, whole names compared: "a/b" is not under "a/bc"."""
    return any(tuple(path[: len(parts)]) == parts for parts in map(_parts, prefixes))


def check_prefixes(function: str, variables: Variables, prefixes: Sequence[str]) -> tuple[str, ...]:
    """Refuses a prefix that matches nothing, with the names that exist at the place where it leaves the tree.

    Args:
        function: Name for the message.
        variables: Flax variables, collection -> tree.
        prefixes: Paths such as ``"block1"`` or ``"block1/conv"``.

    Returns:
        The prefixes as a tuple.

    Raises:
        ValueError: If ``prefixes`` is a string, or one of them matches nothing.
    """
    expected = 'a sequence of paths such as ("block1", "block1/conv")'
    check(not isinstance(prefixes, str), function, "frozen", expected, repr(prefixes))
    paths = {path for tree in variables.values() for path in traverse_util.flatten_dict(_to_dicts(tree))}
    for prefix in prefixes:
        parts = _parts(prefix)
        if any(path[: len(parts)] == parts for path in paths):
            continue
        depth = max(n for n in range(len(parts)) if any(path[:n] == parts[:n] for path in paths))
        names = sorted({path[depth] for path in paths if path[:depth] == parts[:depth] and len(path) > depth})
        place = f"under {'/'.join(parts[:depth])!r}" if depth else "at the top"
        raise ValueError(f"{function}: frozen prefix {prefix!r} matches nothing; {place} there are {', '.join(names)}.")
    return tuple(prefixes)


def _to_dicts(tree: PyTree) -> PyTree:
    """Converts mappings of any kind (a FrozenDict too) to dicts."""
    return {name: _to_dicts(child) for name, child in tree.items()} if isinstance(tree, Mapping) else tree


def frozen_mask(tree: PyTree, prefixes: Sequence[str]) -> PyTree:
    """Returns a tree of bools like ``tree``, True where a leaf lies under one of the prefixes."""

    def names(path: tuple[Any, ...]) -> tuple[str, ...]:
        return tuple(str(getattr(entry, "key", getattr(entry, "name", getattr(entry, "idx", entry)))) for entry in path)

    return jax.tree_util.tree_map_with_path(lambda path, _: _under(names(path), prefixes), tree)


def keep_frozen(new: PyTree, old: PyTree, prefixes: Sequence[str]) -> PyTree:
    """Takes the leaves under the prefixes from ``old`` and the others from ``new``."""
    if not prefixes:
        return new
    return jax.tree.map(lambda is_frozen, n, o: o if is_frozen else n, frozen_mask(new, prefixes), new, old)


@contextlib.contextmanager
def norm_behavior(frozen: Sequence[str], axis_name: str | None = None, *, measuring: bool = False) -> Iterator[None]:
    """Changes, for the time of a ``with`` block, how the batch norms of any Linen model behave.

    Under a frozen prefix a batch norm normalizes with its running statistics and leaves them alone,
    whatever the model asks for. With ``axis_name`` the others average their statistics over that
    mapped axis, so that devices that share a batch normalize as one device would. With ``measuring`` they
    store the statistics of the batch themselves instead of moving averages.

    Args:
        frozen: Prefixes of module paths.
        axis_name: The mapped axis of ``pmap`` or ``shard_map`` that the batch is spread over.
        measuring: Whether to store what is measured on a single batch.
    """

    def intercept(
        call: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any], context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        if not isinstance(module, nn.BatchNorm) or context.method_name != "__call__":
            return call(*args, **kwargs)
        fields: dict[str, Any] = {}
        if _under(module.path, frozen):
            # Linen takes the switch as a field or as an argument and refuses both: drop the argument, set the field.
            args, kwargs = args[:1], {name: value for name, value in kwargs.items() if name != "use_running_average"}
            fields["use_running_average"] = True
        else:
            if axis_name is not None and module.axis_name is None:
                fields["axis_name"] = axis_name
            if measuring:
                fields["momentum"] = 0.0
        with _fields(module, fields):
            return call(*args, **kwargs)

    if not frozen and axis_name is None and not measuring:
        yield
        return
    with nn.intercept_methods(intercept):
        yield


@contextlib.contextmanager
def _fields(module: nn.Module, values: Mapping[str, Any]) -> Iterator[None]:
    """Sets dataclass fields of a bound module for a while; Linen's own setattr refuses that after construction."""
    before = {name: getattr(module, name) for name in values}
    try:
        for name, value in values.items():
            object.__setattr__(module, name, value)
        yield
    finally:
        for name, value in before.items():
            object.__setattr__(module, name, value)


def freeze(
    tx: optax.GradientTransformation, variables: Variables, prefixes: Sequence[str]
) -> optax.GradientTransformationExtraArgs:
    """Restricts an Optax transformation to what is not frozen, and keeps no state for the frozen parameters.

    Convention:
        A prefix is a path of names joined by ``/``: ``"block1"`` covers ``block1/conv/kernel``, and
        not ``block10``. Only whole names match. Norms and schedules inside ``tx`` see the trainable
        parameters only. Freezing the *statistics* of a batch norm is the train step's part: give the
        same prefixes as ``frozen=`` to ``make_train_step`` (``fit`` does both).

    Args:
        tx: What updates the trainable parameters.
        variables: Variables of the model; only names are read.
        prefixes: What to freeze.

    Returns:
        A transformation whose updates are zero for frozen parameters.

    Raises:
        ValueError: If a prefix matches nothing.

    Example:
        >>> import jax
        >>> from jaxcnn.train import freeze
        >>> import jax.numpy as jnp, optax
        >>> params = {"body": {"kernel": jnp.ones(3)}, "head": {"kernel": jnp.ones(2)}}
        >>> tx = freeze(optax.adam(0.1), {"params": params}, ["body"])
        >>> sum(leaf.size for leaf in jax.tree.leaves(tx.init(params)))  # two moments of the head, and a counter
        5
        >>> updates, _ = tx.update(params, tx.init(params), params)
        >>> updates["body"]["kernel"].tolist()
        [0.0, 0.0, 0.0]
    """
    prefixes = check_prefixes("freeze", variables, prefixes)

    def labels(params: PyTree) -> PyTree:
        return jax.tree.map(lambda is_frozen: "frozen" if is_frozen else "trained", frozen_mask(params, prefixes))

    return optax.partition({"trained": tx, "frozen": optax.set_to_zero()}, labels, mask_compatible_extra_args=True)
