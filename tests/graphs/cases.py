"""Operations of graphs at small inputs, each with a reference in NumPy that computes one example."""

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from jaxcnn.graphs import Node
from jaxcnn.graphs.execution import run_node

BATCHES = ((), (3,), (2, 3))
"""Sizes of the batch axes that every operation is run with."""


class Case(NamedTuple):
    """One operation with options; the reference takes the inputs and parameters of one example."""

    op: str
    inputs: Sequence[np.ndarray]  # each with the batch axes (2, 3)
    want: Callable[..., Any]
    options: Mapping[str, Any] = {}
    parameters: Mapping[str, np.ndarray] = {}
    outputs: int = 1
    label: str = ""

    @property
    def title(self) -> str:
        """The operation and the options that it tests."""
        options = ", ".join(f"{key}={value}" for key, value in self.options.items())
        return f"{self.op}({self.label or options})"


def draw(*shape: int, low: float = -2.0, high: float = 2.0, seed: int = 0) -> np.ndarray:
    """Draws an example of a shape for each place in a batch (2, 3)."""
    return array(2, 3, *shape, low=low, high=high, seed=seed)


def array(*shape: int, low: float = -1.0, high: float = 1.0, seed: int = 0) -> np.ndarray:
    """Draws an array without batch axes."""
    random = np.random.default_rng((zlib.crc32(str(shape).encode()), seed))
    return random.uniform(low, high, shape).astype(np.float32)


def compute(cases: Sequence[Case]) -> dict[str, list[list[np.ndarray]]]:
    """Runs all cases with all batches, as one program.

    Returns:
        Title to the outputs, a list for each of ``BATCHES``.
    """
    assert len({case.title for case in cases}) == len(cases)
    shown = [[[x[(0,) * (2 - len(batch))] for x in case.inputs] for batch in BATCHES] for case in cases]
    parameters = [dict(case.parameters) for case in cases]

    @jax.jit
    def program(shown: Any, parameters: Any) -> Any:
        return [
            [run(case, inputs, arrays, batch) for inputs, batch in zip(given, BATCHES, strict=True)]
            for case, given, arrays in zip(cases, shown, parameters, strict=True)
        ]

    found = jax.tree.map(np.asarray, program(shown, parameters))
    return {case.title: result for case, result in zip(cases, found, strict=True)}


def run(case: Case, inputs: Sequence[Any], parameters: Mapping[str, Any], batch: tuple[int, ...]) -> Any:
    """Computes the outputs of one case."""
    names = tuple(f"x{i}" for i in range(len(inputs)))
    outputs = tuple(f"y{i}" for i in range(case.outputs))
    node = Node("node", case.op, names, outputs, case.options, {role: f"node/{role}" for role in parameters})
    return run_node(node, inputs, parameters, batch)[0]


def reference(case: Case, batch: tuple[int, ...]) -> list[np.ndarray]:
    """Computes the outputs of one case example by example."""
    places = list(np.ndindex(*batch))
    found = []
    for place in places:
        at = (0,) * (2 - len(batch)) + place
        wide = [x[at].astype(np.float64) if x.dtype == np.float32 else x[at] for x in case.inputs]
        arrays = {role: value.astype(np.float64) for role, value in case.parameters.items()}
        result = case.want(*wide, **arrays)
        found.append([np.asarray(one) for one in (result if isinstance(result, list) else [result])])
    return [np.stack(parts).reshape((*batch, *parts[0].shape)) for parts in zip(*found, strict=True)]


def check(case: Case, found: Mapping[str, list[list[np.ndarray]]]) -> None:
    """Compares a case with its reference, for every batch."""
    for batch, got in zip(BATCHES, found[case.title], strict=True):
        for value, true in zip(got, reference(case, batch), strict=True):
            assert value.shape == true.shape, f"{case.title}, batch {batch}"
            if np.issubdtype(value.dtype, np.integer):
                np.testing.assert_array_equal(value, true)
            else:
                scale = max(float(np.abs(true).max(initial=0)), 1e-3)
                np.testing.assert_allclose(value, true, rtol=0, atol=1e-5 * scale, err_msg=case.title)
