"""ResNets of Keras and TF-slim against their originals, shrunken; resnet_torchvision_test.py has torchvision's."""

import os

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import models
from tests.support.keras_parity import compare_with_keras
from tests.support.selection import daily, daily_cases
from tests.support.slim_fixtures import compare_with_fixture
from tests.support.untyped import untyped

os.environ.setdefault("KERAS_BACKEND", "jax")
keras = pytest.importorskip("keras")

BLOCKS = (2, 1, 2, 1)
KERAS_BLOCKS = (2, 2, 2)  # its second version strides in the last of two or more
SMALL = {"blocks": BLOCKS, "filters": 2}


def build_resnet(version: int, size):
    """Builds Keras's network of few and narrow blocks, the first of which has a projection without need."""
    resnet = untyped(keras.src.applications.resnet)
    stack = getattr(resnet, f"stack_residual_blocks_v{version}")
    unstrided = 0 if version == 1 else len(KERAS_BLOCKS) - 1

    def stacks(x):
        for i, blocks in enumerate(KERAS_BLOCKS):
            x = stack(x, 16 * 2**i, blocks, stride1=1 if i == unstrided else 2, name=f"conv{i + 2}")
        return x

    return resnet.ResNet(
        stacks,
        version == 2,
        True,
        weights=None,
        input_shape=(*size, 3),
        classes=5,
        classifier_activation=None,
        weights_name="none",
    )


@pytest.mark.parametrize(("version", "train"), daily_cases([(1, True), (2, True), (2, False)], [(2, False)]))
def test_equals_keras(version, train, tmp_path):
    name = {1: "keras/resnet50", 2: "resnet50_v2"}[version]
    compare_with_keras(
        lambda size: build_resnet(version, size),
        name,
        tmp_path,
        options={"blocks": KERAS_BLOCKS, "filters": 16},
        sizes=((33, 47),),
        images=8,
        train=train,
    )


FIXTURES = {
    # name: version, output stride
    "resnet_v1": (1, 32),
    "resnet_v1_stride_8": (1, 8),
    "resnet_v2": (2, 32),
    "resnet_v2_stride_8": (2, 8),
}


@pytest.mark.parametrize("fixture", daily(FIXTURES, ("resnet_v1_stride_8", "resnet_v2")))
def test_equals_slim(fixture):
    version, output_stride = FIXTURES[fixture]
    compare_with_fixture(fixture, f"tensorflow/resnet_v{version}_50", options=SMALL | {"output_stride": output_stride})


@pytest.mark.parametrize("name", ["resnet50", "tensorflow/resnet_v1_50", "resnet50_v2"])
def test_output_stride_keeps_the_parameters(name):
    x = jax.ShapeDtypeStruct((1, 64, 96, 3), jnp.float32)
    shapes = {}
    for output_stride in (4, 8, 16, 32):
        model = models.create(name, output_stride=output_stride, **untyped(SMALL))
        _, variables = jax.eval_shape(
            lambda m=model: m.init_with_output(jax.random.key(0), jnp.zeros(x.shape), capture_intermediates=True)
        )
        last = variables.pop("intermediates")["stage4"]["__call__"][0]
        assert last.shape[1:3] == (64 // output_stride, 96 // output_stride)
        shapes[output_stride] = variables
    assert shapes[4] == shapes[8] == shapes[16] == shapes[32]


def test_recomputation_and_stochastic_depth():
    x = np.random.default_rng(0).uniform(-1, 1, (2, 33, 32, 3)).astype(np.float32)
    plain, again, dropped = (
        models.create("resnet50_v2", stem=4, **untyped({"blocks": (2,), "filters": 2} | options))
        for options in ({}, {"remat": True}, {"drop_path": 0.9})
    )
    variables = jax.jit(plain.init)(jax.random.key(0), x)

    def outputs(model):
        rngs = {"dropout": jax.random.key(4)}
        return jax.jit(lambda v: model.apply(v, x, train=True, mutable=["batch_stats"], rngs=rngs)[0])(variables)

    logits = outputs(plain)
    np.testing.assert_allclose(outputs(again), logits, rtol=1e-5, atol=1e-6)
    assert not np.allclose(outputs(dropped), logits)


def test_errors_of_options():
    x = jnp.ones((1, 32, 32, 3))
    for name, options, message in (
        ("resnet50_v2", {"variant": "torchvision"}, "resnet_v2: variant must be one of .*got 'torchvision'"),
        ("resnet50_v2", {"output_stride": 6}, "resnet_v2: output_stride must be one of .*got 6"),
        ("resnet50", {"variant": "timm"}, "resnet: variant must be one of .*got 'timm'"),
        ("resnet18", {"output_stride": 16}, "resnet: output_stride must be 32, as basic blocks do not dilate, got 16"),
    ):
        with pytest.raises(ValueError, match=message):
            jax.eval_shape(models.create(name, **untyped(options)).init, jax.random.key(0), x)
