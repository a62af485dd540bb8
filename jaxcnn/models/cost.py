"""Floating-point operations of models, counted without computing anything."""

import functools
import json
import math
from collections.abc import Callable, Mapping, Sequence
from importlib import resources
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxcnn.layers.convolution import DepthwiseConv, SeparableConv

__all__ = ["count_flops", "read_flops"]


def count_flops(model: nn.Module, shape: Sequence[int]) -> int:
    """Counts the floating-point operations of a model's convolutions and dense layers for one image.

    Convention: A multiplication and an addition are two operations, so that the numbers are twice the multiply-adds
        that papers state. Biases, norms, activations and pooling are left out, as they are there.

    Args:
        model: Any Linen module that takes images.
        shape: Shape of an image, (h, w, c).

    Returns:
        The number of operations of one forward pass.

    Example:
        >>> from jaxcnn import models
        >>> models.count_flops(models.create("resnet18", num_classes=1000), (224, 224, 3))
        3628146688
    """
    total = 0
    running: list[nn.Module] = []  # a layer that calls the one it is derived from is intercepted twice

    def count(call: Callable[..., Any], args: Any, options: Any, context: nn.module.InterceptorContext) -> Any:
        nonlocal total
        is_outer = context.method_name == "__call__" and not any(one is context.module for one in running)
        running.append(context.module)
        output = call(*args, **options)
        running.pop()
        total += _count(context.module, output) if is_outer else 0
        return output

    with nn.intercept_methods(count):
        jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, *shape)))
    return total


def _count(module: nn.Module, output: jax.Array) -> int:
    """Counts the operations of one layer; 0 for all that has no kernel."""
    per_pixel = 0
    if isinstance(module, nn.Conv | DepthwiseConv | nn.Dense):
        per_pixel = module.get_variable("params", "kernel").size
    elif isinstance(module, SeparableConv):
        depthwise, pointwise = (module.get_variable("params", f"{one}_kernel") for one in ("depthwise", "pointwise"))
        per_pixel = math.prod(depthwise.shape[:-2]) * pointwise.shape[-2] + pointwise.size  # a shared one works per map
    return 2 * math.prod(output.shape[:-1]) * per_pixel


@functools.cache
def read_flops() -> Mapping[str, int]:
    """Reads how many operations the models of the families take at their own image sizes and numbers of classes.

    Returns:
        Name to number, as ``count_flops`` counts.

    Example:
        >>> from jaxcnn.models.cost import read_flops
        >>> read_flops()["resnet18"]
        3628146688
    """
    return json.loads(resources.files("jaxcnn.models").joinpath("recorded_flops.json").read_text("utf-8"))
