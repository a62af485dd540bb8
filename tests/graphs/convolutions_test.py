"""Convolutions and dense layers of graphs equal loops in NumPy."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.graphs import GraphError, Node
from jaxcnn.graphs.execution import run_node
from tests.graphs.cases import Case, array, check, compute, draw


def per_axis(value, rank):
    """Repeats one number for all axes."""
    return (value,) * rank if isinstance(value, int) else value


def convolve(x, kernel, bias=None, *, strides=1, pads=None, dilation=1, groups=1):
    """Sums over the places of the kernel; kernel (*size, c // groups, f)."""
    rank = kernel.ndim - 2
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    x = np.pad(x, [*(pads or [(0, 0)] * rank), (0, 0)])
    size = [
        (n - d * (k - 1) - 1) // s + 1 for n, k, s, d in zip(x.shape, kernel.shape, strides, dilation, strict=False)
    ]
    f = kernel.shape[-1] // groups
    y = np.zeros((*size, kernel.shape[-1]))
    for at in np.ndindex(*kernel.shape[:rank]):
        part = x[
            tuple(
                slice(a * d, a * d + (n - 1) * s + 1, s)
                for a, d, n, s in zip(at, dilation, size, strides, strict=False)
            )
        ]
        for g in range(groups):
            c = kernel.shape[-2]
            y[..., g * f : (g + 1) * f] += part[..., g * c : (g + 1) * c] @ kernel[at][:, g * f : (g + 1) * f]
    return y if bias is None else y + bias


def transpose(x, kernel, bias=None, *, strides=1, crop=None, dilation=1, groups=1):
    """Lays the kernel (*size, c, f // groups) onto the output and crops it; negative crops add zeros."""
    rank = kernel.ndim - 2
    strides, dilation = per_axis(strides, rank), per_axis(dilation, rank)
    size = [(n - 1) * s + d * (k - 1) + 1 for n, k, s, d in zip(x.shape, kernel.shape, strides, dilation, strict=False)]
    c, f = kernel.shape[-2] // groups, kernel.shape[-1]
    y = np.zeros((*size, f * groups))
    for at in np.ndindex(*kernel.shape[:rank]):
        where = tuple(
            slice(a * d, a * d + (n - 1) * s + 1, s) for a, d, n, s in zip(at, dilation, x.shape, strides, strict=False)
        )
        for g in range(groups):
            y[(*where, slice(g * f, (g + 1) * f))] += x[..., g * c : (g + 1) * c] @ kernel[at][g * c : (g + 1) * c]
    crop = crop or [(0, 0)] * rank
    y = np.pad(y, [*((max(-a, 0), max(-b, 0)) for a, b in crop), (0, 0)])
    y = y[tuple(slice(max(a, 0), n - max(b, 0)) for (a, b), n in zip(crop, y.shape, strict=False))]
    return y if bias is None else y + bias


def depthwise(x, kernel, bias=None, **options):
    """Convolves every channel by itself."""
    c, m = kernel.shape[-2:]
    return convolve(x, kernel.reshape(*kernel.shape[:-2], 1, c * m), bias, groups=c, **options)


IMAGE = draw(6, 5, 4)
BIAS = {"bias": array(6)}
WIDE, GROUPED = array(3, 2, 4, 6), array(3, 3, 2, 6)
BOTH = {"depthwise_kernel": array(3, 3, 4, 2), "pointwise_kernel": array(1, 1, 8, 5), "bias": array(5)}
UP, UP_GROUPED = array(3, 2, 4, 3), array(3, 3, 4, 2)


def conv(kernel, options, *, bias=False, **reference):
    """Builds a case of a convolution."""
    parameters = {"kernel": kernel} | (BIAS if bias else {})
    return Case("conv", [IMAGE], lambda x, **p: convolve(x, **p, **reference), options, parameters)


def up(kernel, options, *, x=IMAGE, bias=False, **reference):
    """Builds a case of a transposed convolution."""
    parameters = {"kernel": kernel} | ({"bias": array(kernel.shape[-1] * options.get("groups", 1))} if bias else {})
    return Case("conv_transpose", [x], lambda x, **p: transpose(x, **p, **reference), options, parameters)


CASES = [
    conv(WIDE, {}, bias=True),
    conv(WIDE, {"strides": (2, 1), "padding": ((1, 2), (0, 1))}, strides=(2, 1), pads=[(1, 2), (0, 1)]),
    conv(WIDE, {"strides": 2, "padding": "SAME"}, strides=2, pads=[(0, 1), (0, 1)]),
    conv(WIDE, {"dilation": (1, 2), "padding": 1}, dilation=(1, 2), pads=[(1, 1), (1, 1)]),
    conv(GROUPED, {"groups": 2}, groups=2, bias=True),
    Case("conv", [draw(7, 3)], convolve, {}, {"kernel": array(3, 3, 2)}, label="one spatial axis"),
    Case("conv", [draw(3, 4, 3, 2)], convolve, {}, {"kernel": array(2, 3, 2, 2, 3)}, label="three spatial axes"),
    Case("depthwise_conv", [IMAGE], depthwise, {}, {"kernel": array(3, 3, 4, 2), "bias": array(8)}),
    Case(
        "depthwise_conv",
        [IMAGE],
        lambda x, kernel: depthwise(x, kernel, strides=2, pads=[(1, 1), (1, 1)]),
        {"strides": 2, "padding": 1},
        {"kernel": array(3, 3, 4, 1)},
    ),
    Case(
        "depthwise_conv",
        [IMAGE],
        lambda x, kernel: depthwise(x, kernel, dilation=2),
        {"dilation": 2},
        {"kernel": array(3, 2, 4, 1)},
    ),
    Case(
        "separable_conv",
        [IMAGE],
        lambda x, depthwise_kernel, pointwise_kernel, bias: (
            depthwise(x, depthwise_kernel, strides=2, pads=[(0, 1), (1, 1)]) @ pointwise_kernel[0, 0] + bias
        ),
        {"strides": 2, "padding": "SAME"},
        BOTH,
    ),
    up(UP, {}, bias=True),
    up(UP, {"strides": 2, "padding": ((1, 0), (0, 1))}, strides=2, crop=[(1, 0), (0, 1)]),
    up(UP, {"strides": (3, 2), "padding": "SAME"}, strides=(3, 2), crop=[(0, 0), (0, 0)]),
    up(UP, {"strides": 1, "padding": "SAME"}, crop=[(1, 1), (0, 1)]),
    up(UP, {"strides": 2, "padding": ((1, 1), (0, 0)), "output_padding": 1}, strides=2, crop=[(1, 0), (0, -1)]),
    up(UP, {"strides": 2, "padding": "SAME", "output_size": (11, 9)}, strides=2, crop=[(1, 1), (0, 1)]),
    up(UP, {"strides": 2, "padding": ((0, 0), (2, 2))}, strides=2, crop=[(0, 0), (2, 2)]),
    up(UP, {"strides": 2, "padding": "VALID", "dilation": 2}, strides=2, dilation=2),
    up(UP_GROUPED, {"strides": 2, "groups": 2}, strides=2, groups=2, bias=True),
    up(UP_GROUPED, {"strides": 2, "groups": 4, "padding": 1}, strides=2, groups=4, crop=[(1, 1), (1, 1)], bias=True),
    up(array(4, 4, 4, 1), {"strides": 2, "groups": 4, "padding": 3}, strides=2, groups=4, crop=[(3, 3), (3, 3)]),
    Case("dense", [draw(7)], lambda x, kernel, bias: x @ kernel + bias, {}, {"kernel": array(7, 3), "bias": array(3)}),
    Case("dense", [draw(2, 7)], lambda x, kernel: x @ kernel, {}, {"kernel": array(7, 3)}, label="of maps"),
    Case("matmul", [draw(3, 4), draw(4, 2)], np.matmul),
    Case(
        "matmul",
        [draw(4, 3), draw(2, 4)],
        lambda a, b: a.T @ b.T,
        {"transpose_a": True, "transpose_b": True},
    ),
    Case(
        "embed",
        [np.arange(6).reshape(2, 3, 1).repeat(2, -1) % 4],
        lambda x, table: table[x],
        {},
        {"table": array(4, 3)},
    ),
]


@pytest.fixture(scope="module")
def found():
    """All cases as one program."""
    return compute(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_convolution(case, found):
    check(case, found)


FAULTS = {
    "channels": ("conv", {}, {"kernel": array(3, 3, 3, 4)}, "channels"),
    "size": ("conv", {}, {"kernel": array(9, 3, 4, 4)}, "kernel"),
    "strides": ("conv", {"strides": 0}, {"kernel": array(3, 3, 4, 4)}, "strides"),
    "text": ("conv", {"strides": "two"}, {"kernel": array(3, 3, 4, 4)}, "strides"),
    "padding": ("conv", {"padding": "FULL"}, {"kernel": array(3, 3, 4, 4)}, "padding"),
    "groups": ("conv", {"groups": 3}, {"kernel": array(3, 3, 2, 6)}, "groups"),
    "bias": ("conv", {}, {"kernel": array(3, 3, 4, 4), "bias": array(3)}, "shapes"),
    "rank of the bias": ("conv", {}, {"kernel": array(3, 3, 4, 4), "bias": array(1, 1, 1, 4)}, "parameter of shape"),
    "dense": ("dense", {}, {"kernel": array(5, 4)}, "dot_general"),
    "depthwise": ("depthwise_conv", {}, {"kernel": array(3, 3, 3, 2)}, "channels"),
    "transposed groups": ("conv_transpose", {"groups": 3}, {"kernel": array(3, 3, 4, 2)}, "reshape"),
    "transposed channels": ("conv_transpose", {}, {"kernel": array(3, 3, 3, 2)}, "channels"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_names_the_node(fault):
    op, options, parameters, message = FAULTS[fault]
    node = Node("layer 7", op, ("x",), options=options, parameters={role: f"a/{role}" for role in parameters})
    with pytest.raises(
        GraphError, match=rf"^node 'layer 7' \({op}\): .*{message}.* Its inputs are float32\(2, 6, 5, 4\)"
    ):
        run_node(node, [jnp.asarray(IMAGE[0, :2])], jax.tree.map(jnp.asarray, parameters), (2,))
