"""Compares a model with TF-slim's original, whose results a fixture holds."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import measure_difference
from tests.support.slim_networks import FOLDER, draw_images, draw_weight

__all__ = ["compare_slim_training", "compare_with_fixture"]


def compare_with_fixture(
    fixture: str | Path, name: str, *, options: Mapping[str, Any] | None = None, tolerance: float = 1e-4
) -> dict[str, float]:
    """Draws the original's weights, loads them into the model of a name, and compares.

    Args:
        fixture: Name of the fixture, or its path.
        name: Name of the model.
        options: Fields of the model.
        tolerance: Largest difference allowed, relative to the largest value.

    Returns:
        What was compared to its largest relative difference.
    """
    path = fixture if isinstance(fixture, Path) else FOLDER / f"{fixture}.npz"
    with np.load(path) as file:
        stored = dict(file)
    shapes = json.loads(str(stored.pop("shapes")))
    tensors = {key: draw_weight(key, shape) for key, shape in shapes.items()}
    model, variables = _fill(path, tensors, name, options)
    trained = sum(tensor.size for key, tensor in tensors.items() if "moving_" not in key)
    assert trained == sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), "numbers of parameters"
    after = {key.removeprefix("after/"): stored.pop(key) for key in list(stored) if key.startswith("after/")}
    found: dict[str, float] = {}
    for key, want in stored.items():
        kind, _, size = key.partition("/")
        height, width = map(int, size.split("x"))
        x = draw_images(len(want), height, width, _count_channels(variables))
        if kind == "logits":
            found[size] = measure_difference(jax.jit(model.apply)(variables, x), want)
            continue
        expected = _fill(path, tensors | after, name, options)[1].get("batch_stats", {})
        found |= compare_slim_training(model, variables, x, want, expected)
    assert max(found.values()) < tolerance, found
    return found


def compare_slim_training(
    model: nn.Module, variables: Mapping[str, Any], x: np.ndarray, logits: np.ndarray, after: Mapping[str, Any]
) -> dict[str, float]:
    """Compares a pass in training mode: the logits, and what it adds to the running means.

    Args:
        model: The model.
        variables: Its variables before.
        x: The images.
        logits: What slim computed.
        after: Slim's running statistics behind it, in our tree; its variances are those of samples, n / (n - 1) times
            ours, and left out.

    Returns:
        What was compared to its largest relative difference.
    """
    found, moved = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    result = {"training": measure_difference(found, logits)}
    if not variables.get("batch_stats"):
        return result
    differences = []
    for keys, leaf in jax.tree_util.tree_leaves_with_path(after):
        if keys[-1].key == "mean":
            old, new = variables["batch_stats"], moved["batch_stats"]
            for step in keys:
                old, new = old[step.key], new[step.key]
            differences.append(measure_difference(new - old, np.asarray(leaf - old)))
    # of what was added, to a tenth: the addition itself is rounded
    return {**result, "running means": 0.1 * max(differences)}


def _fill(
    path: Path, tensors: dict[str, np.ndarray], name: str, options: Mapping[str, Any] | None
) -> tuple[Any, dict[str, Any]]:
    checkpoint = Checkpoint(tensors, {"framework": "tensorflow", "format": "tensorflow"})
    return build_filled(path, checkpoint, name, options=options)[:2]


def _count_channels(variables: Mapping[str, Any]) -> int:
    return next(leaf.shape[2] for leaf in jax.tree.leaves(variables["params"]) if leaf.ndim == 4 and leaf.shape[2] < 5)
