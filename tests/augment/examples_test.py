"""Examples with masks, key points and boxes, and clips."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from tests.augment.functions import (
    IMAGE,
    KEY,
    MOVING,
    SIZE,
    P,
    as_uint8,
    function,
)


class TestExamples:
    example: ClassVar = {
        "image": IMAGE,
        "mask": jnp.asarray(np.random.default_rng(1).integers(0, 5, (SIZE, SIZE)), jnp.int32),
        "keypoints": jnp.array([[2.0, 3.0], [7.0, 8.0]]),
        "boxes": jnp.array([[2.0, 3.0, 5.0, 7.0]]),
        "label": jnp.int32(4),
    }

    @pytest.mark.parametrize("name", MOVING)
    def test_key_points_move_with_the_image(self, name):
        """A spot around a key point is moved with it."""
        y, x = np.mgrid[:40, :40]
        points = np.array([[18.0, 21.0], [22.0, 17.0]], np.float32)
        spots = [np.exp(-((x - px) ** 2 + (y - py) ** 2) / 8) for px, py in points]
        options = MOVING[name] | ({"shape": (30, 32)} if "crop" in name and "pad" not in name else {})
        options |= {"scale": (0.8, 1.0)} if name == "random_resized_crop" else {}
        example = {"image": jnp.asarray(np.stack(spots, -1), jnp.float32), "keypoints": points}
        moved = jax.jit(P(getattr(augment, name), **options))(KEY, example)
        yy, xx = np.mgrid[: moved["image"].shape[0], : moved["image"].shape[1]]
        for i, point in enumerate(np.asarray(moved["keypoints"])):
            spot = np.asarray(moved["image"][..., i])
            center = (np.sum(spot * xx) / spot.sum(), np.sum(spot * yy) / spot.sum())
            np.testing.assert_allclose(center, point, atol=0.45)

    @pytest.mark.parametrize("name", MOVING)
    def test_masks_are_sampled_at_the_nearest_pixel(self, name):
        layers = {**self.example, "mask": self.example["mask"][..., None]}
        f = function(name)
        result, layered, alone = jax.jit(lambda *examples: [f(KEY, example) for example in examples])(
            self.example, layers, IMAGE
        )
        assert result["mask"].dtype == jnp.int32 and result["mask"].shape == result["image"].shape[:2]
        assert set(np.unique(result["mask"])) <= set(range(5)) and result["label"] == 4
        np.testing.assert_allclose(result["image"], alone, atol=1e-6)
        np.testing.assert_array_equal(layered["mask"][..., 0], result["mask"])

    @pytest.mark.parametrize("dtype", [jnp.uint8, jnp.bool_, jnp.int32])
    def test_masks_are_0_where_the_image_is_filled(self, dtype):
        example = {"image": IMAGE, "mask": jnp.ones((SIZE, SIZE), dtype)}
        pad = P(augment.random_pad_and_crop, padding=6, padding_mode="fill", fill_value=(0.5, 1.0, 1.0))
        result = pad(KEY, example)
        filled = np.all(np.asarray(result["image"]) == [0.5, 1.0, 1.0], -1)
        np.testing.assert_array_equal(result["mask"], np.where(filled, 0, 1))
        assert filled.any() and result["mask"].dtype == dtype
        levels = pad(KEY, {**example, "image": as_uint8(IMAGE)})
        assert set(np.unique(np.asarray(levels["image"])[filled])) == {128, 255}

    @pytest.mark.parametrize("padding_mode", ["zeros", "border", "reflection"])
    def test_masks_show_outside_what_the_image_shows(self, padding_mode):
        mask = jnp.asarray(np.arange(SIZE**2).reshape(SIZE, SIZE), jnp.int32)
        example = {"image": mask[..., None] / SIZE**2, "mask": mask}
        f = P(augment.random_translation, translate=0.5, mode="nearest", padding_mode=padding_mode)
        result = f(KEY, example)
        np.testing.assert_array_equal(result["mask"], jnp.round(result["image"][..., 0] * SIZE**2))

    def test_points_may_be_integers(self):
        example = {"image": IMAGE, "keypoints": jnp.array([[2, 3]]), "boxes": [[2, 3, 5, 7]]}
        flip = augment.sequence([P(augment.random_flip_left_right, p=1.0), P(augment.random_invert, p=1.0)])
        for p, x in ((0.0, 2.0), (1.0, SIZE - 3.0)):
            result = augment.random_apply(flip, p=p)(KEY, example)
            np.testing.assert_array_equal(result["keypoints"], [[x, 3.0]])
        np.testing.assert_array_equal(result["boxes"], [[SIZE - 5.0, 3.0, SIZE - 2.0, 7.0]])
        assert jax.eval_shape(augment.trivial_augment, KEY, example)["keypoints"].shape == (1, 2)

    def test_points_keep_their_dtype_where_float64_is_allowed(self):
        with jax.enable_x64(True):
            result = jax.eval_shape(P(augment.random_translation, translate=0.2), KEY, self.example)
        assert result["keypoints"].dtype == result["boxes"].dtype == jnp.float32

    def test_boxes_contain_what_they_contained(self):
        flipped = function("random_flip_left_right")(KEY, self.example)
        np.testing.assert_array_equal(flipped["boxes"], [[SIZE - 5.0, 3.0, SIZE - 2.0, 7.0]])
        turned = P(augment.random_rotation, degrees=(90.0, 90.0))(KEY, self.example)  # clockwise
        np.testing.assert_allclose(turned["boxes"], [[SIZE - 7.0, 2.0, SIZE - 3.0, 5.0]], atol=1e-4)
        cut = P(augment.random_translation, translate=0.0)(
            KEY, {**self.example, "boxes": jnp.array([[-3.0, 2, 99, 5]])}
        )
        np.testing.assert_array_equal(cut["boxes"], [[0.0, 2.0, SIZE, 5.0]])

    def test_colors_leave_the_rest_alone(self):
        result = augment.sequence([function("random_color_jitter"), function("random_erasing")])(KEY, self.example)
        for name in ("mask", "keypoints", "boxes", "label"):
            np.testing.assert_array_equal(result[name], self.example[name])

    def test_batches_of_dictionaries(self):
        batch = jax.tree.map(lambda v: jnp.stack([v] * 3), self.example)
        result = jax.jit(augment.batched(function("random_affine")))(KEY, batch)
        one = jax.jit(function("random_affine"))(jax.random.fold_in(KEY, 2), self.example)
        np.testing.assert_allclose(result["keypoints"][2], one["keypoints"], atol=1e-5)

    def test_a_clip_is_changed_as_one(self):
        clip = jnp.stack([IMAGE, IMAGE[::-1]])
        for name in ("random_affine", "random_flip_left_right", "random_pad_and_crop", "random_color_jitter"):
            changed, first = (jax.jit(function(name))(KEY, image) for image in (clip, IMAGE))
            np.testing.assert_allclose(changed[0], first, atol=1e-6)
