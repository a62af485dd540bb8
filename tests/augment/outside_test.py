"""What lies outside of an image, and pixels that are not finite: what they affect, and what not."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from tests.augment.functions import IMAGE, KEY, SIZE, P, as_uint8
from tests.support.selection import daily_cases

FILL = (0.25, 0.5, 1.0)


@pytest.mark.parametrize("known", [True, False])
@pytest.mark.parametrize("fill", [FILL, list(FILL), np.array(FILL), jnp.array(FILL)])
def test_a_rotation_and_its_inverse_are_sampled_at_once_whatever_holds_the_fill(fill, known):
    options = {"degrees": (30.0, 30.0), "padding_mode": "fill"}

    def there_and_back(key, image, fill):
        there = P(augment.random_rotation, fill_value=fill, **options)
        back = P(augment.random_rotation, fill_value=FILL if known else fill, **options | {"degrees": (-30.0, -30.0)})
        return augment.sequence([there, back])(key, image)

    if known or not isinstance(fill, jax.Array):
        result = jax.jit(lambda key, image: there_and_back(key, image, fill))(KEY, IMAGE)
    else:  # a traced fill is the same one
        result = jax.jit(there_and_back)(KEY, IMAGE, fill)
    np.testing.assert_allclose(result, IMAGE, atol=1e-4)


def test_one_fill_for_all_channels_equals_one_per_channel_and_another_fill_does_not():
    def both(first, second):
        steps = [P(augment.random_rotation, padding_mode="fill", fill_value=f) for f in (first, second)]
        return str(jax.make_jaxpr(augment.sequence(steps))(KEY, IMAGE)).count("sampling_gather")

    assert both(0.5, [0.5, 0.5, 0.5]) == both(jnp.float32(0.5), np.float64(0.5)) == 1
    assert both(0.5, 0.6) == both([0.5, 0.5, 0.5], FILL) == 2


def test_a_fill_of_another_size_is_an_error_also_beside_an_equal_one():
    steps = [P(augment.random_rotation, padding_mode="fill", fill_value=f) for f in (0.5, [0.5, 0.5])]
    with pytest.raises(ValueError, match="fill_value must be one value or 3, one per channel"):
        augment.sequence(steps)(KEY, IMAGE)


@pytest.mark.parametrize(
    ("padding_mode", "dtype"),
    daily_cases(
        [(mode, dtype) for mode in ("zeros", "fill") for dtype in (jnp.uint8, jnp.int32, jnp.float32)],
        [("zeros", jnp.uint8), ("fill", jnp.int32)],
    ),
)
def test_masks_have_a_fill_of_their_own(padding_mode, dtype):
    example = {"image": jnp.full((SIZE, SIZE, 3), 0.75), "mask": jnp.ones((SIZE, SIZE), dtype)}
    fill = {"fill_value": 1.0} if padding_mode == "fill" else {}
    for step in (
        P(augment.random_pad_and_crop, padding=6),
        P(augment.random_translation, translate=0.5, mode="nearest"),
    ):
        result = jax.jit(P(step, padding_mode=padding_mode, mask_fill_value=255, **fill))(KEY, example)
        outside = np.asarray(result["image"])[..., 0] != 0.75
        assert outside.any() and not outside.all()
        np.testing.assert_array_equal(result["mask"], np.where(outside, 255, 1))


def test_layers_of_a_mask_may_have_a_fill_each_and_images_do_not_see_it():
    step = P(augment.random_pad_and_crop, padding=6, padding_mode="fill", fill_value=1.0, mask_fill_value=[1, 2])
    example = {"image": as_uint8(IMAGE), "mask": jnp.zeros((SIZE, SIZE, 2), jnp.uint8)}
    result, plain = step(KEY, example), P(step, mask_fill_value=0)(KEY, as_uint8(IMAGE))
    np.testing.assert_array_equal(result["image"], plain)
    assert {tuple(v) for v in np.asarray(result["mask"]).reshape(-1, 2)} == {(0, 0), (1, 2)}


def test_error_if_masks_are_to_be_filled_where_nothing_is():
    with pytest.raises(ValueError, match='mask_fill_value must be left at 0 unless padding_mode is "zeros" or "fill"'):
        augment.random_rotation(KEY, IMAGE, padding_mode="border", mask_fill_value=255)


@pytest.mark.parametrize(
    ("value", "mode"),
    daily_cases(
        [(value, mode) for mode in ("bilinear", "nearest", "bicubic") for value in (np.inf, -np.inf, np.nan)],
        [(np.nan, "bilinear"), (np.inf, "bicubic")],
    ),
)
def test_pixels_that_are_not_finite_affect_nothing_that_does_not_read_them(value, mode):
    image = jnp.asarray(IMAGE).at[3, 4, 1].set(value).at[0, 0, 2].set(value)
    mask = jnp.zeros((SIZE, SIZE)).at[0, SIZE - 1].set(value).at[5, 5].set(value)
    step = P(augment.random_affine, mode=mode)

    @jax.jit
    def run(image, mask):
        nothing = step(KEY, {"image": image, "mask": mask})
        turned = P(step, degrees=(30.0, 30.0))(KEY, {"image": image, "mask": mask})
        return nothing, turned

    nothing, turned = run(image, mask)
    np.testing.assert_array_equal(nothing["image"], image)
    np.testing.assert_array_equal(nothing["mask"], mask)
    expected = run(jnp.asarray(IMAGE), jnp.zeros((SIZE, SIZE)))[1]
    for name, finite in expected.items():
        bad = ~np.isfinite(turned[name])
        assert bad.sum() <= (16 if mode == "bicubic" else 4) * 2, name
        np.testing.assert_allclose(np.asarray(turned[name])[~bad], np.asarray(finite)[~bad], atol=1e-6)
    seen = np.asarray(turned["image"])[~np.isfinite(turned["image"])]
    assert len(seen) > 0 or mode == "nearest"
    assert np.all(np.isnan(seen)) if np.isnan(value) else np.all(np.isinf(seen))


def test_values_of_any_size_are_kept_if_all_are_finite():
    image = jnp.asarray(IMAGE * 1e37, jnp.float32)
    turn = P(augment.random_rotation, degrees=(30.0, 30.0))
    result, plain = jax.jit(lambda a, b: (turn(KEY, a), turn(KEY, b)))(image, jnp.asarray(IMAGE))
    np.testing.assert_allclose(result, plain * 1e37, rtol=1e-5)
