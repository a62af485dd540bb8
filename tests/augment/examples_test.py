"""Examples with masks, key points and boxes, and clips."""

from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from jaxcnn.augment import _decorator
from jaxcnn.augment._chain import Chain
from tests.augment.functions import (
    IMAGE,
    KEY,
    MOVING,
    SIZE,
    P,
    as_uint8,
    function,
)
from tests.support.selection import daily

KINDS = {"random_affine", "random_flip_left_right", "random_resized_crop"}
"""One of every kind of motion: sampled, of whole pixels, to another size."""


class TestExamples:
    example: ClassVar = {
        "image": IMAGE,
        "mask": jnp.asarray(np.random.default_rng(1).integers(0, 5, (SIZE, SIZE)), jnp.int32),
        "keypoints": jnp.array([[2.0, 3.0], [7.0, 8.0]]),
        "boxes": jnp.array([[2.0, 3.0, 5.0, 7.0]]),
        "label": jnp.int32(4),
    }

    @pytest.mark.parametrize("name", daily(MOVING, KINDS | {"random_tps", "random_elastic", "random_perspective"}))
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

    @pytest.mark.parametrize("name", daily(MOVING, KINDS))
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

    @pytest.mark.parametrize("dtype", daily([jnp.uint8, jnp.bool_, jnp.int32], [jnp.bool_]))
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

    @pytest.mark.nightly
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

    @pytest.mark.nightly
    def test_batches_of_dictionaries(self):
        batch = jax.tree.map(lambda v: jnp.stack([v] * 3), self.example)
        result = jax.jit(augment.batched(function("random_affine")))(KEY, batch)
        one = jax.jit(function("random_affine"))(jax.random.fold_in(KEY, 2), self.example)
        np.testing.assert_allclose(result["keypoints"][2], one["keypoints"], atol=1e-5)

    def test_a_clip_is_changed_as_one(self):
        clip = jnp.stack([IMAGE, IMAGE[::-1]])
        for name in ("random_affine", "random_color_jitter"):
            changed, first = (jax.jit(function(name))(KEY, image) for image in (clip, IMAGE))
            np.testing.assert_allclose(changed[0], first, atol=1e-6)


class TestRows:
    """Rows of key points and boxes: further columns, which are inside, pairs that a mirror swaps."""

    example: ClassVar = {
        "image": IMAGE,
        "keypoints": np.array([[2.0, 3.0, 2.0], [7.0, 8.0, 1.0], [-1.0, 5.0, 0.0]], np.float32),
        "boxes": np.array([[2.0, 3.0, 5.0, 7.0, 14.0], [0.0, 0.0, 0.0, 0.0, -1.0]], np.float32),
    }

    def test_further_columns_are_carried_along(self):
        result = P(augment.random_translation, translate=0.2)(KEY, self.example)
        np.testing.assert_array_equal(result["keypoints"][:, 2], self.example["keypoints"][:, 2])
        np.testing.assert_array_equal(result["boxes"][:, 4], self.example["boxes"][:, 4])
        alone = {**self.example, "keypoints": self.example["keypoints"][:, :2], "boxes": self.example["boxes"][:, :4]}
        plain = P(augment.random_translation, translate=0.2)(KEY, alone)
        np.testing.assert_array_equal(result["keypoints"][:, :2], plain["keypoints"])
        np.testing.assert_array_equal(result["boxes"][:, :4], plain["boxes"])

    def test_flags_tell_what_is_inside(self):
        """A row that left the frame once stays outside: the image there is gone."""
        crop = P(augment.center_crop, shape=(6, 6))
        first = crop(KEY, self.example)  # columns and rows 3 to 8
        assert first["keypoints_inside"].tolist() == [False, True, False]
        assert first["boxes_inside"].tolist() == [True, False]
        second = P(augment.random_scale, scale=(0.3, 0.3))(KEY, first)
        assert second["keypoints_inside"].tolist() == [False, True, False]
        assert augment.random_hue(KEY, self.example)["keypoints_inside"].tolist() == [True, True, False]

    @pytest.mark.nightly
    def test_a_sequence_flags_what_left_the_image_that_it_samples(self):
        """Rotating there and back is sampled once and loses nothing; colors in between make it two images."""
        there, back = (P(augment.random_translation, translate=0.0), P(augment.random_translation, translate=0.0))
        turns = [P(augment.random_rotation, degrees=(d, d)) for d in (45.0, -45.0)]
        corner = {"image": IMAGE, "keypoints": np.array([[0.0, 0.0]])}
        assert augment.sequence([there, *turns, back])(KEY, corner)["keypoints_inside"].tolist() == [True]
        colored = augment.sequence([turns[0], augment.random_hue, turns[1]])
        assert colored(KEY, corner)["keypoints_inside"].tolist() == [False]

    def test_no_boxes_are_an_empty_list(self):
        result = function("random_affine")(KEY, {"image": IMAGE, "keypoints": [], "boxes": []})
        assert result["keypoints"].shape == (0, 2) and result["boxes"].shape == (0, 4)
        assert result["boxes_inside"].shape == (0,)

    @pytest.mark.parametrize(
        "name", daily(["random_flip_left_right", "random_flip_up_down"], ["random_flip_left_right"])
    )
    def test_a_flip_swaps_pairs(self, name):
        f = P(getattr(augment, name), keypoint_pairs=[(0, 2)])
        plain, result = (g(KEY, self.example, p=1.0) for g in (getattr(augment, name), f))
        np.testing.assert_array_equal(result["keypoints"], np.asarray(plain["keypoints"])[[2, 1, 0]])
        assert result["keypoints_inside"].tolist() == [False, True, True]
        np.testing.assert_array_equal(f(KEY, self.example, p=0.0)["keypoints"], self.example["keypoints"])

    @pytest.mark.errors  # pairs are annotated as sequences
    @pytest.mark.parametrize("array", [np.array, jnp.array])
    def test_pairs_may_be_an_array(self, array):
        flip = P(augment.random_flip_left_right, p=1.0)
        want = flip(KEY, self.example, keypoint_pairs=((0, 2),))["keypoints"]
        pairs = array([[0, 2]])
        np.testing.assert_array_equal(flip(KEY, self.example, keypoint_pairs=pairs)["keypoints"], want)
        chain = augment.sequence([P(flip, keypoint_pairs=pairs)])
        np.testing.assert_array_equal(jax.jit(chain)(KEY, self.example)["keypoints"], want)

    def test_pairs_are_swapped_in_sequences_choices_and_inverses(self):
        flip = P(augment.random_flip_left_right, keypoint_pairs=[(0, 2)], p=1.0)
        points = self.example["keypoints"]
        twice = augment.sequence([flip, augment.one_of([flip, P(flip, p=0.0)], weights=[1, 0])])(KEY, self.example)
        np.testing.assert_allclose(twice["keypoints"], points, atol=1e-5)
        seldom = augment.random_apply(flip, p=0.5)
        back = augment.inverse(seldom)(KEY, seldom(KEY, self.example))
        np.testing.assert_allclose(back["keypoints"], points, atol=1e-5)
        batch = jax.tree.map(lambda v: np.stack([v] * 2), self.example)
        np.testing.assert_array_equal(
            augment.batched(flip)(KEY, batch)["keypoints"][1], flip(KEY, self.example)["keypoints"]
        )

    @pytest.mark.errors
    @pytest.mark.parametrize(
        ("entry", "message"),
        [
            ({"boxes": np.ones((3, 2))}, r"boxes must be \(k, 4\) of \(x_min, y_min, x_max, y_max\).*got float"),
            ({"keypoints": np.ones((3, 1))}, r"keypoints must be \(k, 2\) of \(x, y\)"),
            ({"keypoints": np.ones((3, 2), bool)}, r"keypoints must be .*got bool\(3, 2\)"),
            ({"keypoints": [["left", "right"]]}, "keypoints must be an array of numbers"),
            ({"boxes": np.ones((3, 4)), "boxes_inside": np.ones(2, bool)}, "boxes_inside must be bool"),
            ({"mask": [[1, 2]]}, "mask must be .*got list"),
        ],
    )
    def test_errors_of_entries(self, entry, message):
        with pytest.raises(ValueError, match=f"random_hue: {message}"):
            augment.random_hue(KEY, {"image": IMAGE, **entry})

    @pytest.mark.errors
    @pytest.mark.parametrize("pairs", [((0, 3),), ((0, 0),), ((0, 1), (1, 2)), (0, 1), 3, ((0.0, 1.0),)])
    def test_errors_of_pairs(self, pairs):
        with pytest.raises(ValueError, match="random_flip_left_right: keypoint_pairs must be"):
            augment.random_flip_left_right(KEY, self.example, keypoint_pairs=pairs)

    @pytest.mark.errors
    def test_errors_of_images_that_are_no_arrays(self):
        torch = pytest.importorskip("torch")
        with pytest.raises(ValueError, match=r"random_hue: image must be an array.*got torch.Tensor"):
            augment.random_hue(KEY, torch.ones(4, 4, 3))


def spot(shape, x, y):
    rows, columns = np.mgrid[: shape[0], : shape[1]]
    return jnp.asarray(np.exp(-((columns - x) ** 2 + (rows - y) ** 2) / 8), jnp.float32)[..., None]


class TestStrongDeformations:
    """Key points follow the image also where a map stretches more than twofold."""

    @pytest.mark.nightly
    def test_of_a_spline_that_a_fixed_point_iteration_does_not_invert(self):
        f = jax.jit(P(augment.random_tps, strength=0.07))
        moved = f(jax.random.key(20), {"image": spot((96, 128), 104, 32), "keypoints": np.array([[104.0, 32.0]])})
        row, column = np.unravel_index(np.argmax(moved["image"]), (96, 128))
        assert (column, row) == (108, 32)
        np.testing.assert_allclose(moved["keypoints"], [[column, row]], atol=0.6)

    @pytest.mark.parametrize(
        "f",
        [
            P(augment.random_tps, strength=0.07),
            pytest.param(P(augment.random_elastic, alpha=100.0, sigma=8.0), marks=pytest.mark.nightly),
        ],
    )
    def test_everywhere(self, f):
        """Where a key point is found, the map leads back to it; without folds it is found everywhere."""
        shape = 96, 128
        y, x = (jnp.asarray(v, jnp.float32) for v in np.mgrid[: shape[0] : 8, : shape[1] : 8])

        @jax.jit
        def there_and_back(key):
            pixel_map = _decorator.advance(f, key, Chain.without_example(shape)).pixel_map
            back = pixel_map.backward(x, y)
            return jnp.hypot(*(a - b for a, b in zip(pixel_map.forward(*back), (x, y), strict=True)))

        for seed in range(8):
            assert float(there_and_back(jax.random.key(seed)).max()) < 0.02

    @pytest.mark.nightly
    def test_derivatives_are_those_of_differences(self):
        example = {"image": spot((24, 24), 10, 8), "keypoints": np.array([[10.0, 8.0]])}

        @jax.jit
        def move(strength, points):
            return augment.random_tps(KEY, {**example, "keypoints": points}, strength=strength)["keypoints"].sum()

        strength, points = 0.04, example["keypoints"]
        step = np.array([[0.5, 0.0]])
        difference = (move(0.041, points) - move(0.039, points)) / 2e-3
        slope, by_point = jax.grad(move, (0, 1))(strength, jnp.asarray(points, jnp.float32))
        np.testing.assert_allclose(slope, difference, rtol=0.02)
        moved = move(strength, points + step) - move(strength, points - step)
        np.testing.assert_allclose(by_point[0, 0], moved, rtol=0.05)
