"""A module is described by plain JSON and built again from it; what cannot be described says so when it is built."""

import functools
import json

import flax.linen as nn
import jax
import jax.numpy as jnp
import pytest

from jaxcnn import layers, models
from jaxcnn.graphs import GraphNetwork
from jaxcnn.train.module_description import build_module, describe_module
from tests.support.small_graph import GRAPH
from tests.support.untyped import untyped

IMAGE = jnp.ones((1, 42, 42, 1))


def there_and_back(module):
    return build_module(json.loads(json.dumps(describe_module(module), allow_nan=False)))


@pytest.mark.parametrize("name", models.names())
def test_models_are_described_by_name(name):
    model = models.create(name, num_classes=7, dtype=jnp.bfloat16)
    description = describe_module(model)
    assert description["name"] == name
    assert there_and_back(model) == model


OPTIONS = [
    ("cnn", {"num_classes": None, "features": (8, 9), "kernel_sizes": (5, 3), "downsample": 2}),
    ("st_cnn", {"transform": "tps", "localizer_units": 7, "localizer_pool_last": True, "features": (8, 8)}),
    ("st_fcn", {"transform": "similarity", "fill_value": float("inf"), "localizer_units": (3,), "units": (4,)}),
    ("lenet", {"activation": nn.relu, "param_dtype": jnp.float64}),
]


@pytest.mark.parametrize(("name", "options"), OPTIONS, ids=[name for name, _ in OPTIONS])
def test_options_are_described(name, options):
    model = models.create(name, **options)
    assert set(describe_module(model)["options"]) == {"num_classes", *options}
    assert there_and_back(model) == model


class Free(nn.Module):
    """Has fields of every kind."""

    activation: object = nn.relu
    norm: object = nn.BatchNorm
    stages: object = ()
    table: object = None
    kernel_init: object = nn.initializers.lecun_normal()
    scale: float = 1.0
    precision: object = None

    @nn.compact
    def __call__(self, x):
        return untyped(self.activation)(nn.Dense(3, kernel_init=untyped(self.kernel_init))(x))


@pytest.mark.parametrize(
    "fields",
    [
        {},
        {"activation": jnp.tanh, "norm": nn.LayerNorm},
        {"activation": nn.gelu, "stages": ((1, 2), (3, (4.5, None))), "scale": float("nan")},
        {"table": {"a": 1, "b": (True, "text")}, "precision": jax.lax.Precision.HIGHEST},
        {"stages": (nn.Dense(3), layers.Conv(4, (3, 3)), Free(scale=2.0)), "norm": layers.Conv},
        {"activation": jax.lax.rsqrt, "table": {"dtype": jnp.bfloat16, "other": jnp.int8}},
    ],
)
def test_fields_are_described(fields):
    module = Free(**fields)
    assert str(there_and_back(module)) == str(module)
    assert set(describe_module(module)["fields"]) == set(fields)


@pytest.mark.parametrize(
    "initializer",
    [
        nn.initializers.zeros,
        nn.initializers.he_normal(),
        nn.initializers.normal(0.5),
        nn.initializers.constant(2.0),
        nn.initializers.truncated_normal(0.1),
        nn.initializers.variance_scaling(3.0, "fan_out", "uniform"),
    ],
)
def test_initializers_are_described(initializer):
    module = Free(kernel_init=initializer)
    variables = [m.init(jax.random.key(0), jnp.ones((1, 4))) for m in (module, there_and_back(module))]
    assert jax.tree.all(jax.tree.map(jnp.array_equal, *variables))


def test_graphs_are_described():
    module = GraphNetwork(GRAPH, outputs=("fc",), dtype=jnp.bfloat16)
    other = there_and_back(module)
    assert other == module
    assert untyped(other).graph == GRAPH


def test_partial_functions_are_described():
    module = Free(activation=functools.partial(nn.leaky_relu, negative_slope=0.3))
    other = there_and_back(module)
    assert untyped(other.activation)(-1.0) == untyped(module.activation)(-1.0)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("value", "message"),
    [
        (lambda x: x, "it holds a function <lambda>, which a run folder cannot keep"),
        (jnp.ones(3), "it holds a ArrayImpl, which"),
        (open, "builtin_function_or_method open"),
        (jnp.save, " save, which a run folder cannot keep"),
        (functools.partial(max, 0), "builtin_function_or_method max"),
    ],
)
def test_errors_of_what_cannot_be_described(value, message):
    description = describe_module(Free(table=value))
    with pytest.raises(ValueError, match=message):
        build_module(json.loads(json.dumps(description)))
