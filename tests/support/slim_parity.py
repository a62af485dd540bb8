"""Compares a model with what TF-slim computed: a checkpoint that it wrote, its logits and moving means."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn import zoo
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import measure_difference
from tests.support.paths import FIXTURES
from tests.support.slim_fixtures import compare_slim_training

__all__ = ["compare_with_slim"]


def compare_with_slim(
    fixture: str, name: str, folder: Path, images: np.ndarray, *, options: Mapping[str, Any], tolerance: float = 1e-4
) -> dict[str, float]:
    """Loads a checkpoint of ``tests/fixtures/families`` into the model of a name, and compares.

    Args:
        fixture: Name of the file, which ``make_slim_mobilenets.py`` describes.
        name: Name of the model.
        folder: Where to unpack the checkpoint.
        images: The images.
        options: Fields of the model.
        tolerance: Largest difference allowed, relative to the largest value.

    Returns:
        What was compared to its largest relative difference.
    """
    with np.load(FIXTURES / "families" / f"{fixture}.npz") as file:
        stored = dict(file)
    for key in [key for key in stored if key.startswith("model.ckpt")]:
        (folder / key).write_bytes(stored.pop(key).tobytes())
    checkpoint = zoo.read(folder)
    found: dict[str, float] = {}
    for key, stride in (("logits", 32), ("logits_stride_8", 8)):
        model, variables, _ = build_filled(folder, checkpoint, name, options={**options, "output_stride": stride})
        found[key] = measure_difference(jax.jit(model.apply)(variables, images), stored[key])
    model, variables, _ = build_filled(folder, checkpoint, name, options={**options, "dropout": 0.0})
    after = {key.removeprefix("after/"): value for key, value in stored.items() if key.startswith("after/")}
    moved = dataclasses.replace(checkpoint, tensors={**checkpoint.tensors, **after})
    _, want, _ = build_filled(folder, moved, name, options=options)
    found |= compare_slim_training(model, variables, images, stored["training"], want["batch_stats"])
    assert max(found.values()) < tolerance, found
    return found
