"""The members of an ensemble: which of them still train, which is the best, and on which devices they are."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import AnyArray, PyTree
from jaxcnn.train.history import Line
from jaxcnn.train.state import State

__all__ = ["Members", "best_member", "member_mesh", "over_members", "shard_members"]


Value = float | list[float] | None
"""A metric of one member, as a line has it: None was not finite."""


class Members:
    """Which members of an ensemble still train: every so many steps the worse half of them stops.

    Attributes:
        active: One boolean per member.
    """

    def __init__(self, function: str, count: int, every: int | None, evaluate_every: int | None, metric: str | None):
        """Checks that there is an evaluation to go by whenever a half is to stop."""
        if every is not None:
            check(is_integer_at_least(every, 1), function, "halve_every", "a positive integer", repr(every))
            check(metric is not None, function, "halve_every", "used with evaluate and best", "one missing")
            due = evaluate_every is not None and every % evaluate_every == 0
            check(due, function, "halve_every", f"a multiple of evaluate_every={evaluate_every}", every)
        self.active = np.ones(count, bool)
        self._every, self._metric = every, metric

    def halve(self, step: int, lines: Sequence[Line]) -> None:
        """Stops the worse half if it is due, by the evaluation lines of this step, one per active member."""
        if self._every is None or self._metric is None or step % self._every != 0:
            return
        metric = self._metric
        ranked = sorted(lines, key=lambda line: _badness(line[metric.removeprefix("-")], metric))
        stay = {line["member"] for line in ranked[: -(-len(ranked) // 2)]}
        self.active = np.array([i in stay for i in range(len(self.active))])


def best_member(values: Sequence[Value] | np.ndarray, metric: str, active: Sequence[bool] | np.ndarray) -> int | None:
    """Returns the member with the best value of a metric among the active ones, None if none is a number."""
    found = [(_badness(value, metric), i) for i, value in enumerate(values) if active[i]]
    found = [pair for pair in found if np.isfinite(pair[0])]
    return min(found)[1] if found else None


def _badness(value: Value, metric: str) -> float:
    """Turns a metric into a number that is smaller for better values; nan is worst."""
    value = float(np.mean(np.asarray(value, np.float64)))
    value = value if metric.startswith("-") else -value
    return np.inf if np.isnan(value) else value


def member_mesh(function: str, count: int, devices: Sequence[Any] | None) -> Mesh | None:
    """Makes a mesh of as many of the devices as divide the members evenly, None for one device."""
    found = jax.local_devices() if devices is None else list(devices)
    check(len(found) > 0, function, "devices", "at least one device", "none")
    number = max(n for n in range(1, min(count, len(found)) + 1) if count % n == 0)
    if number == 1 and devices is None:
        return None
    return jax.make_mesh((number,), ("members",), axis_types=(AxisType.Auto,), devices=found[:number])


def shard_members(state: State, mesh: Mesh | None) -> State:
    """Spreads a state with a leading axis of members over the devices."""
    return state if mesh is None else jax.device_put(state, NamedSharding(mesh, P("members")))


def over_members(function: Callable[..., PyTree], mesh: Mesh | None, *, masked: bool = False) -> Callable[..., PyTree]:
    """Maps a function over the members of its first argument; the others are shared.

    With ``masked`` the last argument is one boolean per member; where it is False, the first part of the result is the
    first argument unchanged.
    """

    def one(state: State, shared: tuple[PyTree, ...], active: AnyArray | None) -> PyTree:
        result = function(state, *shared)
        if active is None:
            return result
        after, *rest = result
        return (jax.tree.map(lambda new, old: jnp.where(active, new, old), after, state), *rest)

    def mapped(state: State, shared: tuple[PyTree, ...], active: AnyArray | None) -> PyTree:
        return jax.vmap(one, (0, None, None if active is None else 0))(state, shared, active)

    every: Callable[..., PyTree] = mapped
    if mesh is not None:
        own = P("members")
        # No value is shared between members, so there is nothing to sum over devices that a check could find missing.
        every = jax.shard_map(mapped, mesh=mesh, in_specs=(own, P(), own), out_specs=own, check_vma=False)

    def call(state: State, *arguments: PyTree) -> PyTree:
        shared, active = (arguments[:-1], arguments[-1]) if masked else (arguments, None)
        return every(state, shared, active)

    return call
