"""Activations, arithmetic and reductions of graphs equal their formulas in NumPy."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn.graphs import GraphError, Node
from jaxcnn.graphs.execution import run_node
from jaxcnn.graphs.operations.activations import UNARY
from jaxcnn.graphs.operations.arithmetic import BINARY, REDUCTIONS
from tests.graphs.cases import Case, array, check, compute, draw

X, Y, POSITIVE = draw(3, 2, 4), draw(3, 2, 4, seed=1), draw(3, 2, 4, low=0.2)
VECTOR, PIXELS = draw(4), draw(3, 2, 1)
erf = np.vectorize(math.erf)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def softplus(x):
    return np.log1p(np.exp(x))


def softmax(x, axis=-1):
    return np.exp(x) / np.exp(x).sum(axis, keepdims=True)


SELU = (1.0507009873554804934193349852946, 1.6732632423543772848170429916717)

ONE_VALUE = {
    "abs": np.abs,
    "erf": erf,
    "erfc": lambda x: 1 - erf(x),
    "ceil": np.ceil,
    "celu": lambda x: np.where(x > 0, x, np.expm1(x)),
    "cos": np.cos,
    "exp": np.exp,
    "floor": np.floor,
    "identity": lambda x: x,
    "log": np.log,
    "log_sigmoid": lambda x: -softplus(-x),
    "mish": lambda x: x * np.tanh(softplus(x)),
    "negative": lambda x: -x,
    "reciprocal": lambda x: 1 / x,
    "round": np.rint,
    "rsqrt": lambda x: x**-0.5,
    "selu": lambda x: SELU[0] * np.where(x > 0, x, SELU[1] * np.expm1(x)),
    "sigmoid": sigmoid,
    "sign": np.sign,
    "sin": np.sin,
    "softplus": softplus,
    "softsign": lambda x: x / (1 + np.abs(x)),
    "sqrt": np.sqrt,
    "square": np.square,
    "swish": lambda x: x * sigmoid(x),
    "tanh": np.tanh,
}

TWO_VALUES = {
    "add": np.add,
    "subtract": np.subtract,
    "multiply": np.multiply,
    "divide": np.divide,
    "maximum": np.maximum,
    "minimum": np.minimum,
    "pow": np.power,
    "floor_divide": np.floor_divide,
    "floor_mod": np.mod,
    "squared_difference": lambda a, b: (a - b) ** 2,
    "greater": np.greater,
    "greater_equal": np.greater_equal,
    "less": np.less,
    "less_equal": np.less_equal,
}

ALONG_AXES = {
    "reduce_mean": np.mean,
    "reduce_sum": np.sum,
    "reduce_max": np.max,
    "reduce_min": np.min,
    "reduce_prod": np.prod,
    "reduce_variance": np.var,
}

NEEDS_POSITIVE = ("log", "rsqrt", "sqrt", "reciprocal")

RANDOM = ("dropout", "spatial_dropout", "gaussian_noise", "gaussian_dropout", "alpha_dropout")

CASES = [
    *(Case(name, [POSITIVE if name in NEEDS_POSITIVE else X], want) for name, want in ONE_VALUE.items()),
    *(Case(name, [POSITIVE, draw(3, 2, 4, low=0.3)], want, label="two values") for name, want in TWO_VALUES.items()),
    *(
        Case(name, [POSITIVE], lambda x, want=want: want(x, 1.5), {"value": 1.5}, label="a number")
        for name, want in TWO_VALUES.items()
    ),
    *(
        Case(name, [POSITIVE], lambda x, want=want: want(1.5, x), {"value": 1.5, "constant_first": True})
        for name, want in TWO_VALUES.items()
    ),
    *(Case(name, [X], want) for name, want in ALONG_AXES.items()),
    *(
        Case(name, [X], lambda x, want=want: want(x, (0, 2), keepdims=True), {"axes": (0, -1), "keepdims": True})
        for name, want in ALONG_AXES.items()
    ),
    Case("add", [X, Y, VECTOR], lambda a, b, c: a + b + c, label="a value of lower rank"),
    Case("add", [X, PIXELS], np.add, label="a size of 1"),
    Case("select", [np.maximum(X, 0), X, Y], lambda c, a, b: np.where(c != 0, a, b)),
    Case("select", [np.maximum(X, 0), Y], lambda c, b: np.where(c != 0, 2.5, b), {"numbers": (2.5, None)}),
    Case("add", [VECTOR, X], np.add, label="a value of higher rank"),
    Case("add", [X], lambda x, constant: x + constant, {}, {"constant": array(2, 4)}),
    Case("add", [VECTOR], lambda x, constant: x + constant, {}, {"constant": array(3, 2, 4)}, label="of higher rank"),
    Case(
        "add",
        [VECTOR, VECTOR],
        lambda x, y, constant: x + y + constant,
        {},
        {"constant": array(3, 2, 4)},
        label="several of higher rank",
    ),
    Case("average", [X, Y, VECTOR], lambda a, b, c: (a + b + c) / 3),
    Case("weighted_sum", [X, Y], lambda a, b: 2 * a - 0.5 * b, {"coefficients": (2.0, -0.5)}),
    Case("relu", [X], lambda x: np.maximum(x, 0)),
    Case("relu", [X], lambda x: np.where(x > 0, x, 0.1 * x), {"negative_slope": 0.1}),
    Case("relu", [X], lambda x: np.clip(x, 0, 1), {"max_value": 1.0}),
    Case(
        "relu",
        [X],
        lambda x: np.minimum(np.where(x >= 0.5, x, 0.2 * (x - 0.5)), 1.2),
        {"negative_slope": 0.2, "threshold": 0.5, "max_value": 1.2},
    ),
    *(
        Case("prelu", [X], lambda x, slope: np.where(x > 0, x, x * slope), {}, {"slope": slope}, label=f"{slope.ndim}")
        for slope in (array(), array(4), array(3, 2, 4))
    ),
    Case("elu", [X], lambda x: np.where(x > 0, x, 0.7 * np.expm1(x)), {"alpha": 0.7}),
    Case("hard_sigmoid", [X], lambda x: np.clip(0.3 * x + 0.4, 0, 1), {"slope": 0.3, "offset": 0.4}),
    Case("hard_swish", [3 * X], lambda x: x * np.clip(x + 3, 0, 6) / 6),
    Case("gelu", [X], lambda x: x * (1 + erf(x / 2**0.5)) / 2),
    Case(
        "gelu",
        [X],
        lambda x: x / 2 * (1 + np.tanh((2 / np.pi) ** 0.5 * (x + 0.044715 * x**3))),
        {"approximate": True},
    ),
    Case("softmax", [X], softmax),
    Case("softmax", [X], lambda x: softmax(x, 0), {"axis": 0}),
    Case("log_softmax", [X], lambda x: np.log(softmax(x, 1)), {"axis": 1}),
    Case("clip", [X], lambda x: np.clip(x, -0.5, None), {"minimum": -0.5}),
    Case("clip", [X], lambda x: np.clip(x, -1, 1), {"minimum": -1, "maximum": 1.0}),
    Case("power", [POSITIVE], lambda x: (1 + 2 * x) ** 0.75, {"power": 0.75, "scale": 2.0, "shift": 1.0}),
    Case("power", [X], lambda x: (0.5 + x) ** 3, {"power": 3, "shift": 0.5}),
    Case("power", [X], lambda x: 3 * x, {"scale": 3.0}),
    Case("exp_base", [X], lambda x: 2 ** (0.5 * x + 1), {"base": 2.0, "scale": 0.5, "shift": 1.0}),
    Case("exp_base", [X], np.exp),
    Case("log_base", [POSITIVE], lambda x: np.log10(3 * x + 1), {"base": 10.0, "scale": 3.0, "shift": 1.0}),
    Case("log_base", [POSITIVE], np.log),
    Case("threshold", [X], lambda x: x > 0.25, {"threshold": 0.25}),
    Case("rescale", [X], lambda x: 2 * x - 1, {"scale": 2.0, "offset": -1.0}),
    Case("rescale", [X], lambda x: x * [1, 2, 3, 4] - 1, {"scale": (1.0, 2.0, 3.0, 4.0), "offset": -1.0}),
    Case(
        "quantize",
        [X],
        lambda x: np.rint((np.clip(x, -1, 0.5) + 1) / 0.1) * 0.1 - 1,
        {"minimum": -1.0, "maximum": 0.5, "levels": 16},
    ),
    Case("argmax", [X], lambda x: x.argmax(-1)),
    Case("top_k", [X], lambda x: np.sort(x, 0)[::-1][:2], {"axis": 0, "count": 2}),
    Case("top_k", [X], lambda x: np.argsort(-x, -1)[..., :3], {"count": 3, "indices": True}),
    Case("top_k", [X * 0], lambda x: x[..., :1] * 0 + x.shape[-1] - 1, {"indices": True, "ties": "last"}),
    Case("top_k", [X * 0], lambda x: x[..., :1] * 0, {"indices": True}),
    Case("argmax", [X], lambda x: x.argmax(0, keepdims=True), {"axis": 0, "keepdims": True}),
    Case("constant", [], lambda constant: constant, {}, {"constant": array(2, 3)}),
    *(Case(name, [X], lambda x: x) for name in RANDOM),
]


@pytest.fixture(scope="module")
def found():
    """All cases as one program."""
    return compute(CASES)


@pytest.mark.parametrize("case", [case for case in CASES if case.inputs], ids=lambda case: case.title)
def test_operation(case, found):
    check(case, found)


def test_constant_is_the_same_for_every_example(found):
    for batch, (got,) in zip(((), (3,), (2, 3)), found["constant()"], strict=True):
        np.testing.assert_array_equal(got, np.broadcast_to(array(2, 3), (*batch, 2, 3)))


def test_tables_are_tested_in_whole():
    assert set(UNARY) == set(ONE_VALUE)
    assert set(BINARY) == set(TWO_VALUES)
    assert set(REDUCTIONS) == set(ALONG_AXES)


def random_node(op, rate, x, *, train=True, **options):
    name = "sigma" if op == "gaussian_noise" else "rate"
    node = Node("drop", op, ("x",), options={name: rate, **options})
    return np.asarray(run_node(node, [jnp.asarray(x)], {}, (2,), train=train, key=lambda: jax.random.key(1))[0][0])


def test_dropout_in_training():
    x = np.full((2, 30, 20, 8), 3, np.float32)
    y = random_node("dropout", 0.25, x)
    assert set(np.unique(y)) == {0, 4}
    assert abs((y == 0).mean() - 0.25) < 0.02
    whole = random_node("spatial_dropout", 0.5, x)
    assert (whole == whole[:, :1, :1]).all(), "whole channels are dropped"
    assert set(np.unique(whole)) == {0, 6}
    assert not random_node("dropout", 1.0, x).any()
    rows = random_node("dropout", 0.5, x, shape=(None, 1, 1))
    assert (rows == rows[:, :, :1, :1]).all() and set(np.unique(rows)) == {0, 6}, "whole rows are dropped"
    for op in ("dropout", "spatial_dropout", "gaussian_dropout", "alpha_dropout"):
        np.testing.assert_array_equal(random_node(op, 0.0, x), x)
    for op in ("gaussian_noise", "gaussian_dropout", "alpha_dropout"):
        np.testing.assert_array_equal(random_node(op, 0.5, x, train=False), x)


def test_noise_in_training():
    x = np.full((2, 30, 20, 8), 3, np.float32)
    noise = random_node("gaussian_noise", 0.5, x) - x
    assert abs(noise.mean()) < 0.02
    assert abs(noise.std() - 0.5) < 0.02
    factor = random_node("gaussian_dropout", 0.2, x) / x
    assert abs(factor.mean() - 1) < 0.02
    assert abs(factor.std() - 0.5) < 0.02
    normal = np.random.default_rng(0).normal(size=x.shape).astype(np.float32)
    kept = random_node("alpha_dropout", 0.3, normal)
    assert abs(kept.mean()) < 0.03 and abs(kept.std() - 1) < 0.03
    assert abs(np.unique(kept, return_counts=True)[1].max() / kept.size - 0.3) < 0.02


def test_quantize_passes_gradients():
    node = Node("q", "quantize", ("x",), options={"minimum": -1.0, "maximum": 1.0, "levels": 8})
    gradient = jax.grad(lambda x: run_node(node, [x], {}, ())[0][0].sum())(jnp.array([-2.0, 0.3, 0.9, 4.0]))
    assert gradient.tolist() == [0, 1, 1, 0]


FAULTS = {
    "one operand": ("add", [X], {}, "two operands"),
    "shapes": ("add", [X, PIXELS[:, :, :2]], {}, "shape"),
    "coefficients": ("weighted_sum", [X, Y], {"coefficients": (1.0,)}, "1 coefficients for 2 inputs"),
    "an axis": ("softmax", [X], {"axis": 3}, r"axis must be in \[-3, 3\), got 3"),
    "axes": ("reduce_mean", [X], {"axes": (0, 5)}, "axis must be"),
    "the same axis": ("reduce_mean", [X], {"axes": (0, -3)}, "duplicate"),
    "text": ("elu", [X], {"alpha": "a"}, ""),
    "offsets": ("rescale", [X], {"offset": (1.0, 2.0)}, ""),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_error_names_the_node(fault):
    op, inputs, options, message = FAULTS[fault]
    node = Node("layer 7", op, tuple("abc"[: len(inputs)]), options=options)
    with pytest.raises(GraphError, match=rf"^node 'layer 7' \({op}\): .*{message}"):
        run_node(node, [jnp.asarray(x) for x in inputs], {}, (2, 3))


def test_error_without_a_key():
    with pytest.raises(GraphError, match="node 'd' \\(dropout\\): it is random in training mode and needs a key"):
        run_node(Node("d", "dropout", ("x",)), [jnp.asarray(X)], {}, (2, 3), train=True)
