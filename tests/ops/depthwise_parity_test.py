"""Values and gradients of the depthwise convolutions against PyTorch's grouped ones."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import ops
from tests.support.selection import daily_cases

torch = pytest.importorskip("torch")

# spatial shape, kernel, multiplier, stride, padding, dilation
CASES = [
    ((11,), (3,), 1, 1, 1, 1),
    ((11,), (5,), 2, 2, 3, 2),
    ((9, 12), (3, 3), 1, 1, 1, 1),
    ((9, 12), (3, 3), 2, 2, 1, 1),
    ((9, 12), (3, 3), 3, 1, 2, 2),
    ((9, 12), (2, 5), 2, (3, 2), (0, 2), (2, 1)),
    ((9, 12), (1, 1), 2, 3, 0, 1),
    ((12, 11), (9, 9), 1, 1, 4, 1),
    ((5, 6, 4), (3, 2, 3), 1, 1, 1, 1),
    ((5, 6, 4), (2, 3, 1), 2, (1, 2, 3), (0, 2, 1), (2, 1, 1)),
]
DTYPES = {"float32": (torch.float32, 2e-5), "float64": (torch.float64, 1e-12)}


def channels_first(array):
    return np.ascontiguousarray(np.moveaxis(array, -1, 1))


@pytest.mark.parametrize(
    ("case", "implementation", "dtype"),
    daily_cases(
        [(case, how, dtype) for case in CASES for how in ("auto", "xla") for dtype in DTYPES],
        [
            *((case, "auto", "float32") for case in CASES[::2]),
            (CASES[5], "xla", "float32"),
            (CASES[5], "auto", "float64"),
        ],
    ),
    ids=str,
)
def test_depthwise_conv(case, implementation, dtype):
    size, taps, m, stride, padding, dilation = case
    rng, rank, c = np.random.default_rng(0), len(size), 3
    x = rng.normal(size=(2, *size, c)).astype(dtype)
    kernel = rng.normal(size=(*taps, c, m)).astype(dtype)

    images = torch.tensor(channels_first(x)).requires_grad_()
    weights = torch.tensor(np.moveaxis(kernel.reshape(*taps, c * m), -1, 0)[:, None].copy()).requires_grad_()
    convolve = {1: torch.nn.functional.conv1d, 2: torch.nn.functional.conv2d, 3: torch.nn.functional.conv3d}[rank]
    theirs = convolve(images, weights, stride=stride, padding=padding, dilation=dilation, groups=c)
    cotangent = rng.normal(size=tuple(theirs.shape)).astype(dtype)
    theirs.backward(torch.tensor(cotangent))
    expected = [
        np.moveaxis(theirs.detach().numpy(), 1, -1),
        np.moveaxis(images.grad.numpy(), 1, -1),
        np.moveaxis(weights.grad.numpy()[:, 0], 0, -1).reshape(kernel.shape),
    ]

    options = {"strides": stride, "padding": padding, "dilation": dilation, "implementation": implementation}
    with jax.enable_x64(dtype == "float64"):
        value, pull = jax.vjp(functools.partial(ops.depthwise_conv, **options), jnp.asarray(x), jnp.asarray(kernel))
        found = [value, *pull(jnp.asarray(np.moveaxis(cotangent, 1, -1)))]
    tolerance = DTYPES[dtype][1]
    for got, wanted in zip(found, expected, strict=True):
        assert got.dtype == dtype
        np.testing.assert_allclose(got, wanted, rtol=tolerance, atol=tolerance)


@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths:UserWarning")
def test_same_padding_at_stride_1():
    rng = np.random.default_rng(1)
    x, kernel = rng.normal(size=(2, 7, 6, 3)), rng.normal(size=(4, 3, 3, 1))
    weights = torch.tensor(np.moveaxis(kernel[..., 0], -1, 0)[:, None].copy())
    theirs = torch.nn.functional.conv2d(
        torch.tensor(channels_first(x)), weights, padding="same", dilation=(1, 2), groups=3
    )
    with jax.enable_x64(True):
        ours = ops.depthwise_conv(jnp.asarray(x), jnp.asarray(kernel), dilation=(1, 2))
    np.testing.assert_allclose(ours, np.moveaxis(theirs.numpy(), 1, -1), rtol=1e-12, atol=1e-12)


@pytest.mark.parametrize("padding", ["reflect", "circular"])
def test_padding_modes(padding):
    rng = np.random.default_rng(2)
    x, kernel = rng.normal(size=(2, 7, 6, 3)).astype(np.float32), rng.normal(size=(5, 3, 3, 1)).astype(np.float32)
    layer = torch.nn.Conv2d(3, 3, (5, 3), padding="same", padding_mode=padding, groups=3, bias=False)
    with torch.no_grad():
        layer.weight.copy_(torch.tensor(np.moveaxis(kernel[..., 0], -1, 0)[:, None].copy()))
        theirs = layer(torch.tensor(channels_first(x)))
    ours = ops.depthwise_conv(x, kernel, padding=padding.upper())
    np.testing.assert_allclose(ours, np.moveaxis(theirs.numpy(), 1, -1), rtol=1e-5, atol=1e-5)


def test_separable_conv():
    rng = np.random.default_rng(3)
    x, depthwise, pointwise = (rng.normal(size=shape) for shape in ((2, 7, 6, 3), (3, 3, 3, 2), (1, 1, 6, 5)))
    first = torch.tensor(np.moveaxis(depthwise.reshape(3, 3, 6), -1, 0)[:, None].copy())
    second = torch.tensor(pointwise[0, 0].T.copy())[..., None, None]
    between = torch.nn.functional.conv2d(torch.tensor(channels_first(x)), first, stride=2, padding=1, groups=3)
    theirs = torch.nn.functional.conv2d(between, second)
    with jax.enable_x64(True):
        ours = ops.separable_conv(*map(jnp.asarray, (x, depthwise, pointwise)), strides=2, padding=1)
    np.testing.assert_allclose(ours, np.moveaxis(theirs.numpy(), 1, -1), rtol=1e-12, atol=1e-12)
