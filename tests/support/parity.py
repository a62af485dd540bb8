"""Compares a model with PyTorch's original: weights by a file on disk, logits, statistics after a training pass."""

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import numpy as np

from jaxcnn import zoo
from jaxcnn.zoo.family_filling import build_filled
from tests.support.keras_parity import measure_difference

__all__ = ["compare_with_torch", "randomize_torch"]


def randomize_torch(net: Any, seed: int = 0) -> None:
    """Draws batch norms and biases, which are constant at first, so that nothing can be exchanged unnoticed."""
    import torch

    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for module in net.modules():
            for factors in (getattr(module, name, None) for name in ("layer_scale", "gamma")):
                if isinstance(factors, torch.nn.Parameter):
                    factors.uniform_(0.5, 1.5, generator=generator)
            if isinstance(module, torch.nn.LayerNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
                module.weight.uniform_(0.5, 1.5, generator=generator)
                for statistics, low, high in ((module.running_mean, -0.3, 0.3), (module.running_var, 0.5, 1.5)):
                    if statistics is not None:
                        statistics.uniform_(low, high, generator=generator)
            if isinstance(getattr(module, "bias", None), torch.Tensor):
                module.bias.uniform_(-0.3, 0.3, generator=generator)


def compare_with_torch(
    net: Any,
    name: str,
    folder: Path,
    *,
    options: Mapping[str, Any] | None = None,
    sizes: Sequence[tuple[int, int]] = ((64, 64), (75, 91)),
    tolerance: float = 1e-4,
    train: bool = True,
) -> dict[str, float]:
    """Writes the original's weights, loads them into the model of a name, and compares.

    Args:
        net: The original; it is randomized.
        name: Name of the model.
        folder: Where to write the weights.
        options: Fields of the model.
        sizes: Heights and widths of images.
        tolerance: Largest difference allowed, relative to the largest value.
        train: Whether to compare a pass in training mode too; dropout must be off in both.

    Returns:
        What was compared to its largest relative difference.
    """
    import torch

    randomize_torch(net)
    path = folder / f"{name.replace('/', '_')}.pth"
    torch.save(net.state_dict(), path)
    model, variables, _ = build_filled(path, zoo.read(path), name, options=options)
    count = sum(parameter.numel() for parameter in net.parameters())
    assert count == sum(leaf.size for leaf in jax.tree.leaves(variables["params"])), "numbers of parameters"
    found: dict[str, float] = {}
    for height, width in sizes:
        images = _draw_images(height, width)
        with torch.no_grad():
            want = net.eval()(_to_torch(images)).numpy()
        found[f"{height}x{width}"] = measure_difference(jax.jit(model.apply)(variables, images), want)
    if train:
        found |= _compare_training(net, model, variables, _draw_images(*sizes[-1]), path, name, options)
    worst = max(found.values())
    assert worst < tolerance, found
    return found


def _compare_training(
    net: Any,
    model: Any,
    variables: Any,
    images: np.ndarray,
    path: Path,
    name: str,
    options: Mapping[str, Any] | None,
) -> dict[str, float]:
    """Compares logits in training mode, and what they add to the running statistics.

    PyTorch adds variances of samples, n / (n - 1) times ours: they are taken back to ours.
    """
    import torch

    before = {key: value.clone() for key, value in net.state_dict().items()}
    factors: dict[str, tuple[float, float]] = {}

    def count(prefix: str, module: Any, x: Any) -> None:
        number = x[0].numel() // x[0].shape[1]
        factors[f"{prefix}.running_var"] = module.momentum, (number - 1) / number

    hooks = [
        module.register_forward_pre_hook(functools.partial(count, prefix))
        for prefix, module in net.named_modules()
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
    ]
    with torch.no_grad():
        want = net.train()(_to_torch(images))
    want = (want if isinstance(want, torch.Tensor) else want[0]).numpy()
    for hook in hooks:
        hook.remove()
    logits, new = jax.jit(lambda v, x: model.apply(v, x, train=True, mutable=["batch_stats"]))(variables, images)
    after = dict(net.state_dict())
    for key, (momentum, factor) in factors.items():
        kept = (1 - momentum) * before[key]
        after[key] = kept + (after[key] - kept) * factor
    torch.save(after, path)
    _, moved, _ = build_filled(path, zoo.read(path), name, options=options)
    found = {"training": measure_difference(logits, want)}
    if factors:
        old = variables["batch_stats"]
        got, expected = (jax.tree.map(np.subtract, one, old) for one in (new["batch_stats"], moved["batch_stats"]))
        # What is added is rounded to the accuracy of the whole: a tenth of it at PyTorch's momentum.
        found["statistics"] = 0.1 * max(jax.tree.leaves(jax.tree.map(measure_difference, got, expected)))
    return found


def _draw_images(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(1).uniform(-2, 2, (4, height, width, 3)).astype(np.float32)


def _to_torch(images: np.ndarray) -> Any:
    import torch

    return torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
