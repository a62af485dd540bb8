"""Policies: their operations one by one against the reference's formulas, their draws, their tables, their mixtures."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from jaxcnn import augment, losses, ops
from jaxcnn.augment import _policy_operations
from jaxcnn.augment._chain import Chain
from jaxcnn.augment._pixel_maps import SamplingRequest
from jaxcnn.augment._policy_tables import TABLES
from tests.augment.functions import IMAGE, KEY, as_uint8
from tests.support.selection import daily

POLICIES = {
    "rand_augment": augment.rand_augment,
    "trivial_augment": augment.trivial_augment,
    "auto_augment": augment.auto_augment,
    "cifar10": functools.partial(augment.auto_augment, policy="cifar10"),
    "aug_mix": functools.partial(augment.aug_mix, width=2, depth=1),
}


@jax.jit
def apply_number(index, sign):
    """Applies operation number ``index`` of AutoAugment's at half its strength."""
    strength = {"shear": 0.3, "translate": (4.0, 6.0), "degrees": 30.0, "factor": 0.9, "bits": 5}
    magnitudes = _policy_operations.make_magnitudes(jnp.float32(0.5), sign, **strength)
    names, sampling = _policy_operations.AUTO, SamplingRequest("bilinear", "zeros")
    return _policy_operations.apply_op(Chain.start("test", IMAGE), index, names, magnitudes, sampling).result()


def apply_alone(name, sign=1.0):
    return apply_number(jnp.int32(_policy_operations.AUTO.index(name)), jnp.float32(sign))


OPERATIONS = {
    "identity": lambda x: x,
    "rotate": lambda x: ops.affine(x, degrees=15.0),
    "translate_x": lambda x: jnp.pad(x, ((0, 0), (2, 0), (0, 0)))[:, :-2],
    "translate_y": lambda x: jnp.pad(x, ((3, 0), (0, 0), (0, 0)))[:-3],
    "brightness": lambda x: ops.adjust_brightness(x, 1.45),
    "saturation": lambda x: ops.adjust_saturation(x, 1.45),
    "contrast": lambda x: ops.adjust_contrast(x, 1.45),
    "sharpness": lambda x: ops.adjust_sharpness(x, 1.45),
    "posterize": lambda x: ops.posterize(x, 5),
    "solarize": lambda x: ops.solarize(x, 0.5),
    "autocontrast": ops.autocontrast,
    "equalize": ops.equalize,
    "invert": ops.invert,
}


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_are_the_ops(name):
    np.testing.assert_allclose(apply_alone(name), jax.jit(OPERATIONS[name])(IMAGE), atol=1e-5)


def test_shears_keep_the_upper_left_corner():
    """As Pillow's ``transform(AFFINE, (1, s, 0, 0, 1, 0))``, whose points are those of pixel edges."""
    n = IMAGE.shape[0]
    y, x = np.mgrid[:n, :n].astype(np.float32)
    along = ops.remap(IMAGE, jnp.asarray(np.stack([x + 0.15 * (y + 0.5), y], -1)))
    np.testing.assert_allclose(apply_alone("shear_x"), along, atol=1e-5)
    down = ops.remap(IMAGE, jnp.asarray(np.stack([x, y - 0.15 * (x + 0.5)], -1)))
    np.testing.assert_allclose(apply_alone("shear_y", sign=-1.0), down, atol=1e-5)


@pytest.mark.parametrize("name", daily(POLICIES, ("auto_augment",)))
def test_dtypes_replay_and_batches(name):
    f = augment.batched(POLICIES[name])
    batch = jnp.stack([IMAGE] * 24)
    whole = jax.jit(f)(KEY, batch)
    assert whole.shape == batch.shape and whole.dtype == batch.dtype
    assert float(whole.min()) >= 0 and float(whole.max()) <= 1
    np.testing.assert_allclose(jax.jit(POLICIES[name])(jax.random.fold_in(KEY, 4), IMAGE), whole[4], atol=1e-5)
    assert len({np.asarray(v).tobytes() for v in whole}) > 10
    levels = jax.jit(f)(KEY, as_uint8(batch))
    assert levels.dtype == jnp.uint8
    assert np.mean(np.abs(np.asarray(levels, np.float32) / 255 - np.asarray(whole)) > 2.5 / 255) < 0.05


@pytest.mark.nightly
def test_magnitude_zero_changes_nothing_except_where_there_is_no_strength():
    """That is autocontrast and equalize, 2 of 14; solarize from 1 on inverts nothing below."""
    image = 0.9 * IMAGE
    weakest = augment.batched(functools.partial(augment.rand_augment, num_ops=1, magnitude=0))
    results = jax.jit(weakest)(KEY, jnp.stack([image] * 280))
    changed = np.any(np.abs(np.asarray(results) - np.asarray(image)) > 1.01 / 255, (1, 2, 3)).mean()
    assert abs(changed - 2 / 14) < 4 * np.sqrt(24 / 14**2 / 280)


def test_magnitude_may_be_traced():
    f = functools.partial(augment.rand_augment, KEY, IMAGE, num_ops=1)
    np.testing.assert_allclose(jax.jit(lambda magnitude: f(magnitude=magnitude))(9), jax.jit(f)(), atol=1e-6)


def test_every_operation_is_drawn_as_often():
    """Of 14, on an image on which they differ: the identity is 1 in 14."""
    batch = jnp.stack([IMAGE] * 700)
    f = augment.batched(functools.partial(augment.rand_augment, num_ops=1, magnitude=15))
    same = np.all(np.isclose(jax.jit(f)(KEY, batch), IMAGE), (1, 2, 3)).mean()
    assert abs(same - 1 / 14) < 4 * np.sqrt(13 / 14**2 / 700)


@pytest.mark.parametrize("policy", TABLES)
def test_tables_are_whole(policy):
    steps = [step for pair in TABLES[policy] for step in pair]
    assert len(TABLES[policy]) == 25 and len(steps) == 50
    assert all(name in _policy_operations.AUTO and 0 <= p <= 1 and 0 <= strength <= 9 for name, p, strength in steps)


def test_examples_of_more_than_an_image():
    example = {"image": IMAGE, "mask": jnp.zeros(IMAGE.shape[:2], jnp.int32), "keypoints": jnp.array([[5.0, 6.0]])}
    turned = functools.partial(augment.rand_augment, num_ops=3, magnitude=20)
    batch = jax.tree.map(lambda v: jnp.stack([v] * 12), example)
    result = jax.jit(augment.batched(turned))(KEY, batch)
    moved = np.any(np.abs(np.asarray(result["keypoints"]) - [5.0, 6.0]) > 0.1, (1, 2))
    assert moved.any() and not moved.all() and result["mask"].dtype == jnp.int32


@pytest.mark.parametrize("name", daily(POLICIES, ("aug_mix",)))
def test_a_batch_may_be_sharded_on_an_explicit_mesh(name):
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Explicit,), devices=jax.devices()[:2])
    with jax.set_mesh(mesh):
        batch = jax.device_put(jnp.stack([IMAGE] * 4), NamedSharding(mesh, PartitionSpec("data")))
        result = jax.eval_shape(augment.batched(POLICIES[name]), KEY, batch)
    assert result.shape == batch.shape and result.sharding.spec[0] == "data"


@pytest.mark.nightly  # tests of inverses restore those of each step daily
def test_inverses_restore_key_points():
    example = {"image": IMAGE, "keypoints": jnp.array([[5.0, 6.0], [3.0, 2.0]])}
    for name, moves in (("rand_augment", 3), ("trivial_augment", 2), ("auto_augment", 2)):
        f, back, moved = POLICIES[name], jax.jit(augment.inverse(POLICIES[name])), 0
        for key in jax.random.split(KEY, 12):
            there = jax.jit(f)(key, example)
            moved += not np.array_equal(there["keypoints"], example["keypoints"])
            np.testing.assert_allclose(back(key, there)["keypoints"], example["keypoints"], atol=1e-4)
        assert moved >= moves, name


mix_little = functools.partial(augment.aug_mix, depth=1, width=1)


class TestAugMix:
    def test_has_no_inverse(self):
        with pytest.raises(ValueError, match="inverse: every function must be one that has an inverse, got aug_mix"):
            augment.inverse(augment.aug_mix)(KEY, IMAGE)

    def test_is_between_an_image_and_its_mixtures(self):
        mixed = jax.jit(mix_little)(KEY, IMAGE)
        assert 1e-3 < float(jnp.abs(mixed - IMAGE).max()) < 1

    @pytest.mark.nightly
    def test_is_differentiable(self):
        gradient = jax.jit(jax.grad(lambda x: jnp.sum(mix_little(KEY, x) ** 2)))(IMAGE)
        assert np.all(np.isfinite(gradient)) and float(jnp.abs(gradient).max()) > 0

    @pytest.mark.parametrize(
        "options",
        daily(
            [{"all_ops": True}, {"alpha": 0.5}, {"depth": 2}, {"width": 2}, {"severity": 8.0}],
            [{"depth": 2}],
        ),
        ids=str,
    )
    def test_options(self, options):
        keys, images = jax.random.split(KEY, 3), jnp.stack([IMAGE] * 3)
        plain, changed = (
            jax.jit(jax.vmap(f))(keys, images) for f in (mix_little, functools.partial(mix_little, **options))
        )
        assert not np.allclose(changed, plain, atol=1e-3)

    @pytest.mark.nightly
    def test_the_loss_is_the_mean_divergence_from_the_mean(self):
        logits = np.random.default_rng(0).normal(size=(3, 5, 4)).astype(np.float32)
        p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
        mean = p.mean(0)
        expected = (p * np.log(p / mean)).sum(-1).mean(0)
        np.testing.assert_allclose(losses.jensen_shannon(np.moveaxis(logits, 0, 1)), expected, rtol=1e-4, atol=1e-6)
        certain = jnp.array([[[0.0, -jnp.inf], [-jnp.inf, 0.0]]])
        np.testing.assert_allclose(losses.jensen_shannon(certain), np.log(2), rtol=1e-6)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: augment.rand_augment(KEY, IMAGE, magnitude=31), r"magnitude must be in \[0, 30\], got 31"),
        (lambda: augment.rand_augment(KEY, IMAGE, magnitude=np.int64(40)), "magnitude must be in"),
        (lambda: augment.rand_augment(KEY, IMAGE, num_ops=0), "num_ops must be an integer of at least 1"),
        (lambda: augment.auto_augment(KEY, IMAGE, policy="svhn"), "policy must be one of"),
        (lambda: augment.aug_mix(KEY, IMAGE, severity=0.0), "severity must be above 0.1"),
        (lambda: augment.aug_mix(KEY, {"image": IMAGE, "mask": IMAGE}), "an example without"),
    ],
)
def test_errors_say_what_was_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
