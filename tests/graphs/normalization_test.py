"""Normalization, pooling, resizing and detection of graphs equal loops and formulas in NumPy."""

from typing import Any

import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.graphs import GraphError, Node, operation_names
from jaxcnn.graphs.execution import run_node
from tests.graphs import convolutions_test, shapes_test, values_test
from tests.graphs.cases import Case, array, check, compute, draw

X = draw(6, 5, 4)
STATISTICS = {"mean": array(4), "var": array(4, low=0.5, high=2.0)}
AFFINE = {"scale": array(4, seed=1), "bias": array(4, seed=2)}


def batch_norm(x, mean, var, scale=1.0, bias=0.0, epsilon=1e-5):
    return (x - mean) / np.sqrt(var + epsilon) * scale + bias


def lrn(x, size, alpha, beta, bias):
    """Sums over the channels around, ``(size - 1) // 2`` before and the others behind."""
    low, c = (size - 1) // 2, x.shape[-1]
    around = [range(max(0, i - low), min(c, i - low + size)) for i in range(c)]
    total = np.stack([sum(x[..., j] ** 2 for j in one) for one in around], -1)
    return x / (bias + alpha * total) ** beta


def windows(x, window, strides, pads, ceil=False, fill=np.nan):
    """Yields the places of windows and their values; what is outside is ``fill``, what is behind the padding NaN."""
    size = []
    for n, w, s, (low, high) in zip(x.shape, window, strides, pads, strict=False):
        count = -(-(n + low + high - w) // s) + 1 if ceil else (n + low + high - w) // s + 1
        size.append(count - 1 if ceil and (count - 1) * s >= n + low else count)
    padded = np.pad(x, [*pads, (0, 0)], constant_values=fill)
    padded = np.pad(padded, [*((0, w) for w in window), (0, 0)], constant_values=np.nan)
    for place in np.ndindex(*size):
        yield (
            place,
            size,
            padded[tuple(slice(i * s, i * s + w) for i, s, w in zip(place, strides, window, strict=True))],
        )


def mean(values, axes):
    """Averages what is not NaN; 0 where nothing is left."""
    return np.nansum(values, axes) / np.maximum((~np.isnan(values)).sum(axes), 1)


def pool(x, reduce, window, strides=None, pads=((0, 0), (0, 0)), **options):
    """Reduces every window, NaN left out."""
    y: Any = None
    for place, size, values in windows(x, window, strides or window, pads, **options):
        y = np.zeros((*size, x.shape[-1])) if y is None else y
        y[place] = reduce(values, (0, 1))
    return y


def l2(x, rule, axes: int | tuple[int, ...] = -1, epsilon=1e-12):
    total = (x**2).sum(axes, keepdims=True)
    length = {
        "maximum": np.sqrt(np.maximum(total, epsilon)),
        "add": np.sqrt(total + epsilon),
        "outside": np.sqrt(total) + epsilon,
    }
    return x / length[rule]


def mean_variance(x, axes, epsilon, rule):
    y, deviation = x - x.mean(axes, keepdims=True), x.std(axes, keepdims=True)
    return y / (np.sqrt(deviation**2 + epsilon) if rule == "add" else deviation + epsilon)


def group_norm(x, scale, bias, groups=2, epsilon=1e-3):
    parts = np.split(x, groups, -1)
    y = [(p - p.mean()) / np.sqrt(p.var() + epsilon) for p in parts]
    return np.concatenate(y, -1) * scale + bias


def resample(x, rows, columns, weight):
    """Weights old pixels by their distance from the positions of the new ones."""

    def matrix(n, at):
        weights = np.array([[weight(p - j, p, j, n) for j in range(n)] for p in at])
        return weights / weights.sum(1, keepdims=True)

    return np.einsum("ai,bj,ijc->abc", matrix(x.shape[0], rows), matrix(x.shape[1], columns), x)


def triangle(d, p, j, n):
    return max(0.0, 1 - abs(min(max(p, 0), n - 1) - j))


def cubic(d, p, j, n):
    d = abs(d)
    return (1.5 * d - 2.5) * d * d + 1 if d <= 1 else ((-0.5 * d + 2.5) * d - 4) * d + 2 if d < 2 else 0.0


def half(n, new):
    return (np.arange(new) + 0.5) * n / new - 0.5


def corners(n, new):
    return np.arange(new) * (n - 1) / (new - 1)


def asymmetric(n, new):
    return np.arange(new) * n / new


def nearest(x, rows, columns):
    return x[np.clip(np.floor(rows).astype(int), 0, 5)][:, np.clip(np.floor(columns).astype(int), 0, 4)]


def prior_boxes(maps, image):
    """Lists the boxes one at a time: small, middle, wide, high."""
    boxes = []
    for i, j in np.ndindex(2, 3):
        x, y = (j + 0.5) * 7, (i + 0.5) * 8
        for w, h in ((4, 4), (6, 6), (4 * 2**0.5, 4 / 2**0.5), (4 / 2**0.5, 4 * 2**0.5)):
            boxes += [(x - w / 2) / 21, (y - h / 2) / 16, (x + w / 2) / 21, (y + h / 2) / 16]
    return np.stack([np.clip(boxes, 0, 1), np.tile([0.1, 0.1, 0.2, 0.2], len(boxes) // 4)])


NORMS = [
    Case("batch_norm", [X], batch_norm, {}, STATISTICS),
    Case("batch_norm", [X], lambda x, **p: batch_norm(x, **p, epsilon=0.1), {"epsilon": 0.1}, STATISTICS | AFFINE),
    Case(
        "batch_norm",
        [X.swapaxes(-1, -3)],
        lambda x, **p: batch_norm(x.T, **p).T,
        {"axis": 0},
        STATISTICS | {"bias": array(4)},
    ),
    Case("batch_norm", [draw(4)], batch_norm, {}, STATISTICS, label="of vectors"),
    Case("scale", [X], lambda x, scale, bias: x * scale + bias, {}, AFFINE),
    Case("scale", [X], lambda x, bias: (x.swapaxes(1, 2) + bias).swapaxes(1, 2), {"axis": 1}, {"bias": array(5)}),
    Case("scale", [X], lambda x, scale: x * scale, {}, {"scale": array(5, 4)}, label="of several axes"),
    *(
        Case(
            "lrn",
            [X],
            lambda x, size=size: lrn(x, size, 0.3, 0.75, 2.0),
            {"size": size, "alpha": 0.3, "beta": 0.75, "bias": 2.0},
        )
        for size in (1, 2, 3, 5, 9)
    ),
    Case(
        "lrn_within_channel",
        [X],
        lambda x: x / (1 + 0.5 * pool(x**2, np.mean, (3, 3), (1, 1), ((1, 1), (1, 1)), fill=0)) ** 0.75,
        {"size": 3, "alpha": 0.5, "beta": 0.75},
    ),
    Case(
        "lrn_within_channel",
        [X],
        lambda x: x / (2 + 0.5 * pool(x**2, mean, (4, 3), (1, 1), ((1, 2), (1, 1)))) ** 0.75,
        {"size": (4, 3), "alpha": 0.5, "beta": 0.75, "bias": 2.0, "count_include_pad": False},
    ),
    *(
        Case("l2_normalize", [X], lambda x, rule=rule: l2(x, rule, -1, 0.5), {"rule": rule, "epsilon": 0.5})
        for rule in ("maximum", "add", "outside")
    ),
    Case(
        "l2_normalize",
        [X],
        lambda x, scale: l2(x, "maximum", (0, 1, 2)) * scale,
        {"axes": (0, 1, 2)},
        {"scale": array(4)},
    ),
    Case(
        "mean_variance_norm",
        [X],
        lambda x, scale, bias: mean_variance(x, (0, 1), 0.1, "add") * scale + bias,
        {"axes": (0, 1), "epsilon": 0.1},
        AFFINE,
    ),
    Case(
        "mean_variance_norm",
        [X],
        lambda x: mean_variance(x, (0, 1, 2), 0.1, "outside"),
        {"axes": (0, 1, 2), "epsilon": 0.1, "rule": "outside"},
    ),
    Case("mean_variance_norm", [X], lambda x: x - x.mean(-1, keepdims=True), {"variance": False}),
    Case("group_norm", [X], group_norm, {"groups": 2, "epsilon": 1e-3}, AFFINE),
]

POOLING = [
    Case("max_pool", [X], lambda x: pool(x, np.nanmax, (2, 2)), {"window": 2}),
    Case(
        "max_pool",
        [-1 - np.abs(X)],
        lambda x: pool(x, np.nanmax, (3, 2), (2, 1), ((1, 0), (0, 1))),
        {"window": (3, 2), "strides": (2, 1), "padding": ((1, 0), (0, 1))},
    ),
    Case(
        "max_pool",
        [X],
        lambda x: pool(x, np.nanmax, (3, 3), (2, 2), ceil=True),
        {"window": 3, "strides": 2, "ceil_mode": True},
    ),
    Case("max_pool", [X], lambda x: x.max((0, 1), keepdims=True), {"window": 99}),
    Case(
        "max_pool",
        [X],
        lambda x: pool(x, np.nanmax, (2, 2), (3, 3), ((1, 2), (0, 2))),
        {"window": 2, "strides": 3, "padding": ((1, 2), (0, 2))},
    ),
    Case("avg_pool", [X], lambda x: pool(x, mean, (2, 2)), {"window": 2}),
    Case(
        "avg_pool",
        [X],
        lambda x: pool(x, mean, (3, 3), (2, 2), ((0, 1), (1, 1))),
        {"window": 3, "strides": 2, "padding": "SAME"},
    ),
    Case(
        "avg_pool",
        [X],
        lambda x: pool(x, mean, (3, 3), (2, 2), ((1, 1), (1, 1)), ceil=True, fill=0),
        {"window": 3, "strides": 2, "padding": 1, "ceil_mode": True, "count_include_pad": True},
    ),
    *(
        Case(
            "avg_pool",
            [X],
            lambda x, fill=fill: pool(x, mean, (2, 2), (2, 2), ((0, 2), (1, 1)), fill=fill),
            {"window": 2, "padding": ((0, 2), (1, 1)), "count_include_pad": fill == 0},
        )
        for fill in (0, np.nan)
    ),
    Case("global_avg_pool", [X], lambda x: x.mean((0, 1))),
    Case("global_max_pool", [X], lambda x: x.max((0, 1), keepdims=True), {"keepdims": True}),
    Case("global_avg_pool", [draw(7, 3)], lambda x: x.mean(0), label="one spatial axis"),
    Case("center_crop", [X], lambda x: x[1:5, 1:4], {"size": (4, 3)}),
    Case(
        "center_crop",
        [X],
        lambda x: resample(x[:, 1:4], half(6, 12), half(3, 6), triangle),
        {"size": (12, 6), "enlarge": True},
    ),
    Case("crop_to_proportions", [X], lambda x: x[:, 1:4], {"size": (4, 2)}),
    Case("crop_to_proportions", [X], lambda x: x[2:3], {"size": (1, 5)}),
    Case("prior_box", [draw(2, 3, 5), draw(16, 21, 3)], prior_boxes)._replace(
        options={
            "min_sizes": (4.0,),
            "max_sizes": (9.0,),
            "aspect_ratios": (2.0,),
            "clip": True,
            "variances": (0.1, 0.1, 0.2, 0.2),
        },
    ),
]

RESIZING = [
    Case("resize", [X], lambda x: resample(x, half(6, 9), half(5, 3), triangle), {"size": (9, 3)}),
    Case("resize", [X], lambda x: resample(x, half(6, 12), half(5, 15), triangle), {"scale": (2, 3)}),
    Case(
        "resize",
        [X],
        lambda x: resample(x, corners(6, 9), corners(5, 3), triangle),
        {"size": (9, 3), "corners": "align"},
    ),
    Case(
        "resize",
        [X],
        lambda x: resample(x, corners(6, 9), corners(5, 3), triangle),
        {"scale": (1.7, 0.5), "corners": "align"},
    ),
    Case(
        "resize",
        [X],
        lambda x: resample(x, asymmetric(6, 9), asymmetric(5, 8), triangle),
        {"size": (9, 8), "corners": "asymmetric"},
    ),
    Case(
        "resize",
        [X, draw(9, 8, 1)],
        lambda x, like: resample(x, half(6, 9), half(5, 8), triangle),
        label="like another",
    ),
    Case("resize", [X], lambda x: resample(x, half(6, 9), half(5, 3), cubic), {"size": (9, 3), "method": "cubic"}),
    Case("resize", [X], lambda x: x.repeat(2, 0).repeat(2, 1), {"scale": 2, "method": "nearest"}),
    Case(
        "resize",
        [X],
        lambda x: nearest(x, asymmetric(6, 9), asymmetric(5, 4)),
        {"size": (9, 4), "method": "nearest", "corners": "asymmetric"},
    ),
    Case(
        "resize",
        [X],
        lambda x: nearest(x, half(6, 4) + 0.5, half(5, 7) + 0.5),
        {"size": (4, 7), "method": "nearest"},
    ),
    Case(
        "resize",
        [X],
        lambda x: nearest(x, corners(6, 9) + 0.5, corners(5, 7) + 0.5),
        {"size": (9, 7), "method": "nearest", "corners": "align", "rounding": "round"},
    ),
]

CASES = [*NORMS, *POOLING, *RESIZING]


@pytest.fixture(scope="module")
def found():
    """All cases as one program."""
    return compute(CASES)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.title)
def test_operation(case, found):
    check(case, found)


def test_every_operation_is_tested():
    files = (convolutions_test, values_test, shapes_test)
    assert {case.op for cases in (CASES, *(file.CASES for file in files)) for case in cases} == set(operation_names())


@pytest.mark.parametrize(("axis", "unbiased"), [(-1, False), (0, False), (-1, True)])
def test_batch_norm_in_training(axis, unbiased):
    """The batch's statistics normalize, and move the running ones by ``1 - momentum``."""
    x = X if axis == -1 else X.swapaxes(-1, -3)
    options = {"momentum": 0.9, "epsilon": 0.01, "axis": axis, "unbiased": unbiased}
    node = Node("bn", "batch_norm", ("x",), options=options)
    arrays = {role: jnp.asarray(value) for role, value in (STATISTICS | AFFINE).items()}
    (y,), new = run_node(node, [jnp.asarray(x)], arrays, (2, 3), train=True)
    flat = X.reshape(-1, 4)
    mean, var = flat.mean(0), flat.var(0)
    want = (X - mean) / np.sqrt(var + 0.01) * AFFINE["scale"] + AFFINE["bias"]
    np.testing.assert_allclose(y if axis == -1 else y.swapaxes(-1, -3), want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(new["mean"], 0.9 * STATISTICS["mean"] + 0.1 * mean, rtol=1e-5, atol=1e-6)
    var = flat.var(0, ddof=int(unbiased))
    np.testing.assert_allclose(new["var"], 0.9 * STATISTICS["var"] + 0.1 * var, rtol=1e-5)


def test_batch_norm_in_training_of_means_far_larger_than_deviations():
    x = 1000 + draw(64, 64, 4)
    node = Node("bn", "batch_norm", ("x",))
    arrays = {role: jnp.asarray(value) for role, value in STATISTICS.items()}
    (y,), new = run_node(node, [jnp.asarray(x)], arrays, x.shape[:-3], train=True)
    flat = x.reshape(-1, 4).astype(np.float64)
    np.testing.assert_allclose(y, (x - flat.mean(0)) / np.sqrt(flat.var(0) + 1e-5), atol=1e-3)
    np.testing.assert_allclose(new["var"], 0.99 * STATISTICS["var"] + 0.01 * flat.var(0), rtol=1e-5)


FAULTS = {
    "statistics": ("batch_norm", {}, {"mean": array(3), "var": array(3)}, ""),
    "an axis": ("batch_norm", {"axis": 7}, STATISTICS, "axis must be"),
    "groups": ("group_norm", {"groups": 3}, {}, ""),
    "no groups": ("group_norm", {"groups": 0}, {}, ""),
    "size": ("lrn", {"size": 0, "alpha": 1.0, "beta": 1.0}, {}, ""),
    "window": ("max_pool", {"window": 0}, {}, "window"),
    "negative window": ("avg_pool", {"window": (2, -2)}, {}, "window"),
    "window of text": ("max_pool", {"window": "two"}, {}, ""),
    "windows": ("max_pool", {"window": (2, 2, 2, 2)}, {}, ""),
    "strides": ("max_pool", {"window": 2, "strides": 0}, {}, "strides"),
    "padding": ("max_pool", {"window": 2, "padding": "FULL"}, {}, ""),
    "new size": ("resize", {"size": (0, 3)}, {}, r"the new size must be in \[1, 65536\], got \(0, 3\)"),
    "large size": ("resize", {"size": (2**20, 3)}, {}, "the new size must be"),
    "no size": ("resize", {}, {}, ""),
    "scale": ("resize", {"scale": (2, 2, 2)}, {}, ""),
    "infinite scale": ("resize", {"scale": float("inf")}, {}, ""),
    "method": ("resize", {"scale": 2, "method": "magic"}, {}, "method"),
    "corners": ("resize", {"scale": 2, "corners": "magic"}, {}, "corners"),
    "rule": ("l2_normalize", {"rule": "magic"}, {}, "rule"),
    "crop": ("center_crop", {"size": (7, 1)}, {}, "7 x 1 pixels cannot be cut out of 6 x 5"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_names_the_node(fault):
    op, options, parameters, message = FAULTS[fault]
    node = Node("layer 7", op, ("x",), options=options, parameters={role: f"a/{role}" for role in parameters})
    with pytest.raises(GraphError, match=rf"^node 'layer 7' \({op}\): .*{message}"):
        run_node(node, [jnp.asarray(X)], {role: jnp.asarray(value) for role, value in parameters.items()}, (2, 3))


def test_error_of_prior_boxes():
    node = Node("p", "prior_box", ("x", "y"), options={"min_sizes": (1.0,) * 10_000, "aspect_ratios": (2.0,) * 10})
    with pytest.raises(GraphError, match="boxes are too many"):
        run_node(node, [jnp.zeros((100, 100, 1)), jnp.zeros((4, 4, 3))], {}, ())
