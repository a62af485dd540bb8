"""Compares a model with Keras's original: weights by a file on disk, logits, statistics after a training pass."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcnn import zoo
from jaxcnn.zoo.family_filling import build_filled

__all__ = ["build_keras", "compare_with_keras", "measure_difference", "randomize_keras", "run_keras", "save_keras"]


def build_keras(application: str, size: tuple[int | None, int | None], **options: Any) -> Any:
    """Builds a network of ``keras.applications`` that returns logits, without drawing its weights.

    Args:
        application: Name of the class.
        size: Height and width of the images, or None where it is to take any.
        **options: Arguments of the class.

    Returns:
        The network, of 11 classes; ``randomize_keras`` gives its variables their first values.
    """
    import keras

    keras.backend.clear_session()
    # Layer norm promotes ranks, and to draw values that are not used takes long.
    with jax.numpy_rank_promotion("allow"), keras.StatelessScope(initialize_variables=False):
        net = getattr(keras.applications, application)(
            **{"weights": None, "classes": 11, "classifier_activation": None, "input_shape": (*size, 3)} | options
        )
    keras.backend.clear_session()  # else it would draw them later
    return net


def randomize_keras(net: Any, seed: int = 1) -> None:
    """Assigns every variable values under which signals neither die nor explode, and no two channels are alike."""
    rng = np.random.default_rng(seed)
    for variable in net.variables:
        kind, shape = variable.path.rpartition("/")[2], tuple(variable.shape)
        if kind in ("gamma", "moving_variance", "variance"):
            value = rng.uniform(0.5, 1.5, shape)
        elif len(shape) == 1:
            value = rng.uniform(-0.3, 0.3, shape)
        else:
            depthwise = "depthwise" in variable.path or "_dw_" in variable.path
            fan = np.prod(shape[:2]) if depthwise else np.prod(shape[:-1])
            value = rng.standard_normal(shape, np.float32) * np.sqrt(2 / fan)
        if np.issubdtype(np.dtype(variable.dtype), np.floating):
            variable.assign(value.astype(np.float32))
    for layer in net.layers:
        if type(layer).__name__ == "Normalization" and layer.weights:
            layer.finalize_state()  # it computes with copies


def run_keras(net: Any, x: np.ndarray, *, train: bool) -> Any:
    """Returns the output of Keras's network and its other variables afterwards."""
    arrays = ([v.value for v in part] for part in (net.trainable_variables, net.non_trainable_variables))
    with jax.numpy_rank_promotion("allow"):
        return jax.jit(lambda *arguments: net.stateless_call(*arguments, training=train))(*arrays, x)


def compare_with_keras(
    build: Callable[[tuple[int, int]], Any],
    name: str,
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    sizes: Sequence[tuple[int, int]] = ((64, 64), (75, 91)),
    suffix: str = ".weights.h5",
    images: int = 4,
    low: float = -1.0,
    high: float = 1.0,
    tolerance: float = 1e-4,
    train: bool = True,
) -> dict[str, float]:
    """Writes the original's weights, loads them into the model of a name, and compares.

    Args:
        build: Builds the original for images of a size; it is randomized, the same for every size.
        name: Name of the model.
        folder: Where to write the weights.
        options: Fields of the model.
        sizes: Heights and widths of images.
        suffix: End of the file's name, which is its format for Keras: ``.weights.h5``, ``.h5`` or ``.keras``.
        images: Number of images.
        low: Smallest value of the images.
        high: Largest one.
        tolerance: Largest difference allowed, relative to the largest value.
        train: Whether to compare a pass in training mode too; dropout must be off in both.

    Returns:
        What was compared to its largest relative difference.
    """
    path = folder / f"{name.replace('/', '_')}{suffix}"
    found: dict[str, float] = {}
    model, variables = None, {}
    for size in sizes:
        net = build(size)
        randomize_keras(net)
        x = np.random.default_rng(2).uniform(low, high, (images, *size, 3)).astype(np.float32)
        if model is None:
            model, variables = _write_and_load(net, name, path, options)
            trained = sum(int(np.prod(v.shape)) for v in net.trainable_variables)
            assert trained == sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), "numbers of parameters"
        found[f"{size[0]}x{size[1]}"] = measure_difference(
            jax.jit(model.apply)(variables, x), run_keras(net, x, train=False)[0]
        )
        if train and size == sizes[-1]:
            found |= _compare_training(net, model, variables, x, name, path, options)
    worst = max(found.values())
    assert worst < tolerance, found
    return found


def save_keras(net: Any, path: Path) -> None:
    """Writes a network, or its weights only where the file's name ends so."""
    save = net.save_weights if path.name.endswith(".weights.h5") else net.save
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):  # of Keras's own use of NumPy
        save(path)


def _write_and_load(net: Any, name: str, path: Path, options: Mapping[str, Any] | None) -> tuple[Any, dict[str, Any]]:
    save_keras(net, path)
    return build_filled(path, zoo.read(path), name, options=options)[:2]


def _compare_training(
    net: Any,
    model: Any,
    variables: Mapping[str, Any],
    x: np.ndarray,
    name: str,
    path: Path,
    options: Mapping[str, Any] | None,
) -> dict[str, float]:
    """Compares logits in training mode, and what they add to the running statistics.

    Of the statistics only what was added says something: at a momentum of 0.999 the old ones hide the new.
    """
    want, updated = run_keras(net, x, train=True)
    logits, moved = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, x)
    if not variables.get("batch_stats"):
        return {"training": measure_difference(logits, want)}
    for variable, value in zip(net.non_trainable_variables, updated, strict=True):
        variable.assign(value)
    found = {"training": measure_difference(logits, want)}
    if "batch_stats" not in variables:
        return found
    old, new = variables["batch_stats"], _write_and_load(net, name, path, options)[1]["batch_stats"]
    added, expected = (jax.tree.map(jnp.subtract, one, old) for one in (moved["batch_stats"], new))
    statistics = jax.tree.map(measure_difference, added, expected)
    # The addition itself is rounded: to a thousandth of it at a momentum of 0.999.
    return found | {"statistics": 0.1 * max(jax.tree.leaves(statistics))}


def measure_difference(got: Any, want: Any) -> float:
    """Returns the largest difference, relative to the largest value wanted unless all are 0."""
    got, want = np.asarray(got), np.asarray(want)
    assert got.shape == want.shape, (got.shape, want.shape)
    return float(np.abs(got - want).max() / (np.abs(want).max() or 1.0))
