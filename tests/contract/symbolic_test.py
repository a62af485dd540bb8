"""Every public op, loss, layer and model can be exported for batches of any size."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment, layers, models, ops
from tests.contract import items
from tests.contract.compare import close
from tests.support.selection import daily

# Sizes are annotated as integers, which a symbol is not: run without checks of annotations.
pytestmark = pytest.mark.errors

COMPARED = ("ops.conv[1]", "ops.depthwise_conv[0]", "ops.grid_sample[0]", "ops.max_pool[1]")
"""Items of every engine that is chosen by size, whose results are compared."""

(ANY,) = jax.export.symbolic_shape("b")


def with_any_batch(item):
    """Returns the shapes of an item's arguments with a symbolic batch."""

    def shape(batched, a):
        return jax.ShapeDtypeStruct((ANY, *a.shape[1:]) if batched else a.shape, a.dtype)

    return [jax.tree.map(functools.partial(shape, b), a) for a, b in zip(item.arrays, item.batched, strict=True)]


@pytest.mark.parametrize("name", daily(items.NAMES, items.OWN))
def test_exports_for_any_batch(name):
    item = items.get(name)
    with item.strict():
        exported = jax.export.export(jax.jit(item.function))(*with_any_batch(item))
    assert all(result.shape[0] == ANY for result in exported.out_avals)


@pytest.mark.parametrize("name", daily(items.FIRST, COMPARED))
def test_exported_program_computes_the_same(name):
    item = items.get(name)

    def with_gradients(*arrays):
        value, pullback = jax.vjp(item.function, *arrays)
        return value, pullback(jnp.cos(value))

    with item.strict():
        exported = jax.export.export(jax.jit(with_gradients))(*with_any_batch(item))
        close(exported.call(*item.arrays), jax.jit(with_gradients)(*item.arrays))


def test_exported_program_takes_batches_of_several_sizes():
    item = items.get("ops.warp_affine[0]")
    exported = jax.export.export(jax.jit(item.function))(*with_any_batch(item))
    for n in (1, 5):
        arrays = [np.resize(a, (n, *a.shape[1:])) for a in item.arrays]
        close(exported.call(*arrays), jax.jit(item.function)(*arrays))


@pytest.mark.parametrize("name", daily(["random_affine", "random_brightness", "rand_augment"], ["random_affine"]))
def test_augmentation_exports_for_any_batch(name):
    f, key = augment.batched(getattr(augment, name)), jax.random.key(5)
    images = jax.ShapeDtypeStruct((ANY, 6, 5, 3), jnp.uint8)
    exported = jax.export.export(jax.jit(functools.partial(f, key)))(images)
    batch = np.random.default_rng(0).integers(0, 255, (3, 6, 5, 3), np.uint8)
    np.testing.assert_array_equal(exported.call(batch), jax.jit(f)(key, batch))


@pytest.mark.parametrize(
    ("function", "shapes", "message"),
    [
        (ops.grid_sample, [("b", "h", 5, 3), ("b", 4, 4, 2)], "grid_sample: image must be of known size along h and w"),
        (ops.flow_grid, [("b", "h", 5, 2)], r"flow_grid: shape must be \(h, w\) of positive integers, got \(h, 5\)"),
        (
            functools.partial(ops.max_pool, window=2),
            [("b", 6, "h", 3)],
            "max_pool: x must be of known size along",
        ),
        (functools.partial(ops.adjust_sharpness, factor=2.0), [("b", "h", 5, 3)], "image must be of known size along"),
        (functools.partial(ops.permute_channels, permutation=(1, 0)), [("b", 6, 5, "h")], "of known size along c"),
        (functools.partial(ops.conv, padding="VALID"), [("b", "h", 5, 3), (3, 3, 3, 4)], "no larger than the padded x"),
        (ops.fit_affine, [("h", 2), ("h", 2)], r"points must be of shape \(..., k, 2\) with k >= 3, got float32\(h, 2"),
    ],
)
def test_error_if_another_size_that_must_be_known_is_symbolic(function, shapes, message):
    symbols = dict(zip("bh", jax.export.symbolic_shape("b, h"), strict=True))
    arrays = [jax.ShapeDtypeStruct([symbols.get(n, n) for n in shape], jnp.float32) for shape in shapes]
    with pytest.raises(ValueError, match=message):
        jax.export.export(jax.jit(function))(*arrays)


def test_error_of_models_and_layers_for_another_symbolic_size():
    b, h = jax.export.symbolic_shape("b, h")
    for module, size, message in (
        (
            models.create("lenet", num_classes=2),
            12,
            "lenet: x must be at least 12 x 12 pixels, got float32.b, h",
        ),
        (models.create("fcn", num_classes=2, units=(3,)), 4, "x must be of known size along h and w"),
        (layers.SpatialTransformer(items.Localizer(), "affine"), 4, "SpatialTransformer: output_shape must be .h, w."),
    ):
        variables = jax.eval_shape(module.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))
        with pytest.raises(ValueError, match=message):
            jax.export.export(jax.jit(module.apply))(variables, jax.ShapeDtypeStruct((b, h, size, 1), jnp.float32))
