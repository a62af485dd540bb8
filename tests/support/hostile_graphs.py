"""Changes the description of a network in many ways and checks that its importer imports or refuses it, in time.

What a description consists of does not matter: dictionaries, lists, tuples, data classes and plain values are walked.

    checkpoint = zoo.read(path)
    hostile_graphs.fuzz_graph(import_caffe, path, checkpoint, cases=60)
    hostile_graphs.refuse_many_nodes(import_caffe, path, checkpoint)
"""

import dataclasses
import math
import time
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn.graphs.graph import Graph
from jaxcnn.zoo import FormatError
from jaxcnn.zoo.checkpoint import Checkpoint
from tests.support.fuzzing import limit_time
from tests.support.selection import times

SECONDS = 20
"""How long an importer may take for a changed description of a small network."""

MANY = 1_000_000
"""Nodes of an absurd network."""

_MEMORY = 1 << 30  # bytes beside the description that an importer may take for an absurd network

ODD_VALUES: tuple[Any, ...] = (
    *(None, True, False, "", "nonsense", "x" * 5000, b"bytes", -1, 0, 1, 2, 3, 7, -(2**31), 2**31, 2**62, 10**30),
    *(0.5, -1.5, 1e-30, 1e30, math.nan, math.inf, (), [], [0], [-1, -1], [1, 2, 3, 4, 5, 6, 7], [[1], [2]], [None]),
    *([2**40] * 4, {}, {"a": 1}, {"name": {"b": [None]}}, [{}], ["a", 1, None], [[[[[[]]]]]], object()),
)
"""What takes the place of a value."""

Change = tuple[str, Any]
_Steps = tuple[Any, ...]
Importer = Callable[..., Any]


@dataclasses.dataclass
class GraphOutcome:
    """Counts the changed descriptions that were imported and those that were refused."""

    imported: int = 0
    refused: int = 0
    slowest: float = 0.0  # seconds


def _children(value: Any) -> list[tuple[Any, Any]]:
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, list | tuple):
        return list(enumerate(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(one.name, getattr(value, one.name)) for one in dataclasses.fields(value)]
    return []


def _walk(value: Any, steps: _Steps = ()) -> Iterator[tuple[_Steps, Any]]:
    for key, child in _children(value):
        yield (*steps, key), child
        yield from _walk(child, (*steps, key))


def _update(value: Any, steps: _Steps, change: Callable[[Any, Any], Any]) -> Any:
    """Copies a description with ``change(parent, key)`` in the place of the parent of what the steps lead to."""
    first, *rest = steps
    if not rest:
        return change(value, first)
    child = value[first] if isinstance(value, Mapping | list | tuple) else getattr(value, first)
    return _put(value, first, _update(child, tuple(rest), change))


def _put(parent: Any, key: Any, child: Any) -> Any:
    if isinstance(parent, Mapping):
        return {**parent, key: child}
    if isinstance(parent, list | tuple):
        items = list(parent)
        items[key] = child
        return items if isinstance(parent, list) else _rebuild(parent, items)
    return dataclasses.replace(parent, **{key: child})


def _rebuild(like: tuple[Any, ...], items: list[Any]) -> Any:
    named = hasattr(like, "_fields") and len(items) == len(like)
    return type(like)(*items) if named else tuple(items)


def _remove(parent: Any, key: Any) -> Any:
    if isinstance(parent, Mapping):
        return {name: value for name, value in parent.items() if name != key}
    if isinstance(parent, list | tuple):
        items = [value for place, value in enumerate(parent) if place != key]
        return items if isinstance(parent, list) else _rebuild(parent, items)
    return _put(parent, key, None)


def _repeat(parent: Any, key: Any) -> Any:
    if not isinstance(parent, list | tuple):
        return _put(parent, key, [parent[key]] * 2) if isinstance(parent, Mapping) else parent
    items = [*parent[: key + 1], *parent[key:]]
    return items if isinstance(parent, list) else _rebuild(parent, items)


def change_graph(graph: Any, rng: np.random.Generator) -> Change:
    """Makes one change of a description: an entry is removed, repeated, exchanged, renamed, or of another value.

    Args:
        graph: The description.
        rng: Draws the change.

    Returns:
        The change in words, and the changed copy.
    """
    found = list(_walk(graph))
    steps, value = found[int(rng.integers(len(found)))]
    where = "/".join(map(str, steps))
    kind = int(rng.integers(7))
    if kind == 0:
        return f"without {where}", _update(graph, steps, _remove)
    if kind == 1:
        return f"{where} twice", _update(graph, steps, _repeat)
    if kind == 2:
        other = found[int(rng.integers(len(found)))][1]  # may nest the description in itself, which is no cycle
        return f"{where} is {other!r:.60}", _update(graph, steps, lambda parent, key: _put(parent, key, other))
    if kind == 3:  # names among themselves: cycles, names that are undefined or taken twice
        texts = [(one, text) for one, text in found if isinstance(text, str)] or [(steps, value)]
        place, _ = texts[int(rng.integers(len(texts)))]
        text = texts[int(rng.integers(len(texts)))][1]
        return f"{'/'.join(map(str, place))} is {text!r:.60}", _update(graph, place, lambda p, key: _put(p, key, text))
    if kind == 4:  # numbers, by a number
        numbers = [(one, old) for one, old in found if isinstance(old, int | float)] or [(steps, value)]
        place, old = numbers[int(rng.integers(len(numbers)))]
        new = [-1, 0, 1, 2, 5, 1000, 2**20, 2**33, 0.5, -3][int(rng.integers(10))]
        return f"{'/'.join(map(str, place))} is {new}, not {old}", _update(graph, place, lambda p, k: _put(p, k, new))
    odd = ODD_VALUES[int(rng.integers(len(ODD_VALUES)))]
    return f"{where} is {odd!r:.60}", _update(graph, steps, lambda parent, key: _put(parent, key, odd))


def change_tensors(tensors: Mapping[str, np.ndarray], rng: np.random.Generator) -> Change:
    """Makes one change of the tensors: one is removed, renamed, reshaped, cut or of another dtype."""
    name = list(tensors)[int(rng.integers(len(tensors)))]
    array = tensors[name]
    rest = {key: value for key, value in tensors.items() if key != name}
    kind = int(rng.integers(6))
    if kind == 0:
        return f"without {name}", rest
    if kind == 1:
        return f"{name} renamed", {**rest, f"{name}_": array}
    new = [array.T, array[None], array.reshape(-1)[:-1], array.astype(np.int8)][kind - 2]
    return f"{name} of shape {new.shape} {new.dtype}", {**tensors, name: new}


def _import(importer: Importer, path: Path, checkpoint: Checkpoint, change: str, seconds: int, **options: Any) -> bool:
    """Imports a network; returns whether it was imported and not refused."""
    try:
        with limit_time(change, seconds):
            network = importer(path, checkpoint, **options)
    except FormatError as error:
        assert error.reason and error.path, change
        return False
    except Exception as error:
        raise AssertionError(f"{change}: {type(error).__name__} instead of FormatError: {error}") from error
    assert isinstance(network.graph, Graph), change
    return True


def fuzz_graph(
    importer: Importer,
    path: Path,
    checkpoint: Checkpoint,
    *,
    cases: int = 60,
    seed: int = 0,
    seconds: int = SECONDS,
    **options: Any,
) -> GraphOutcome:
    """Imports one network in many changed forms, each with one to three changes.

    Args:
        importer: ``importer(path, checkpoint, **options)``.
        path: The file, for messages.
        checkpoint: What the intact file holds; it must be importable. A small network: every case is imported.
        cases: How many changed forms; every sixth has changed tensors too.
        seed: Of the changes.
        seconds: How long one may take.
        **options: More arguments of the importer.

    Returns:
        The counts of those imported and refused.
    """
    assert _import(importer, path, checkpoint, "unchanged", seconds, **options)
    outcome = GraphOutcome()
    for case in range(times(cases)):
        rng = np.random.default_rng((seed, case))
        graph, tensors, words = checkpoint.graph, checkpoint.tensors, []
        for _ in range(int(rng.integers(1, 4))):
            change, graph = change_graph(graph, rng)
            words.append(change)
            if not _children(graph):
                break
        if case % 6 == 5 and tensors:
            change, tensors = change_tensors(tensors, rng)
            words.append(change)
        changed = dataclasses.replace(checkpoint, graph=graph, tensors=tensors)
        begin = time.perf_counter()
        imported = _import(importer, path, changed, f"case {case}: {'; '.join(words)}", seconds, **options)
        outcome.slowest = max(outcome.slowest, time.perf_counter() - begin)
        outcome.imported += imported
        outcome.refused += not imported
    return outcome


def refuse_many_nodes(
    importer: Importer, path: Path, checkpoint: Checkpoint, *, seconds: int = SECONDS, **options: Any
) -> None:
    """Checks that a network of a million nodes is refused in bounded time and memory.

    The longest list of dictionaries or messages in the description is repeated; its entries are the same objects.
    """
    lists = [(steps, value) for steps, value in [((), checkpoint.graph), *_walk(checkpoint.graph)] if _is_nodes(value)]
    steps, nodes = max(lists, key=lambda one: len(one[1]))
    many = list(nodes) * (MANY // len(nodes) + 1)
    graph = _update(checkpoint.graph, steps, lambda parent, key: _put(parent, key, many)) if steps else many
    changed = dataclasses.replace(checkpoint, graph=graph)
    tracemalloc.start()
    try:
        imported = _import(importer, path, changed, "a million nodes", seconds, **options)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert not imported, "a million nodes were imported"
    assert peak < _MEMORY, f"a million nodes took {peak} bytes"


def _is_nodes(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) > 1 and all(_children(one) for one in value)
