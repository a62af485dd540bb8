"""Distorted images: what is drawn, where it lands, and that keys alone decide."""

from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import data
from jaxcnn.data import distortions
from tests.support.selection import daily
from tests.support.untyped import untyped

APPLY = jax.jit(distortions.distort, static_argnums=2)
KINDS = ("R", "RTS", "P", "E", "T", "TC")


def sources(n: int = 7, size: int = 8, channels: int = 1):
    rng = np.random.default_rng(0)
    return rng.uniform(0.2, 1, (n, size, size, channels)).astype(np.float32), np.arange(n, dtype=np.int64)


@pytest.mark.parametrize("kind", daily(KINDS, ("RTS", "P", "E", "TC")))
def test_batch(kind):
    images, labels = sources(channels=2)
    generator = data.distorted(images, labels, kind=kind, canvas=(17, 15))
    batch = generator(jax.random.key(0), 5)
    assert batch["image"].shape == (5, 17, 15, 2) and batch["image"].dtype == jnp.float32
    assert batch["label"].shape == (5,) and batch["label"].dtype == jnp.int32
    assert float(batch["image"].min()) >= 0 and 0.2 < float(batch["image"].max()) <= 1
    drawn = generator.parameters(jax.random.key(0), 5)
    np.testing.assert_array_equal(batch["label"], labels[np.asarray(drawn["index"])])


@pytest.mark.parametrize("kind", daily(KINDS, ("E", "TC")))
def test_key_and_place_in_batch_decide(kind):
    generator = data.distorted(*sources(), kind=kind, canvas=14)
    few, many = generator(jax.random.key(3), 2), generator(jax.random.key(3), 6)
    np.testing.assert_allclose(few["image"], many["image"][:2], atol=1e-5)
    np.testing.assert_array_equal(few["label"], many["label"][:2])
    assert (generator(jax.random.key(4), 2)["image"] != few["image"]).any()
    assert (many["image"][0] != many["image"][1]).any()


@pytest.mark.nightly
def test_jit_equals_eager():
    stream = data.distorted(*sources(), kind="RTS", canvas=14).stream(1)
    with jax.disable_jit():
        eager = stream(jax.random.key(1))
    for jitted in (stream, jax.jit(stream), lambda key: jax.jit(lambda s, k: s(k))(stream, key)):
        np.testing.assert_allclose(jitted(jax.random.key(1))["image"], eager["image"], atol=1e-5)


@pytest.mark.parametrize("kind", daily(["R", "TC"], ["TC"]))
def test_uint8_sources_equal_float_ones(kind):
    images, labels = sources()
    bytes_ = np.round(images * 255).astype(np.uint8)
    a = data.distorted(bytes_, labels, kind=kind, canvas=14)
    b = data.distorted(bytes_.astype(np.float32) / 255, labels, kind=kind, canvas=14)
    assert a.images.dtype == jnp.uint8
    np.testing.assert_allclose(a(jax.random.key(0), 4)["image"], b(jax.random.key(0), 4)["image"], atol=1e-6)


@pytest.mark.errors  # annotations say int and float
def test_options_may_be_numpys():
    given = {"canvas": np.int64(14), "points": np.int64(3), "scale": np.array([0.5, 1.0]), "point_sigma": np.float32(2)}
    expected = data.distorted(*sources(), kind="E", canvas=14, points=3, scale=(0.5, 1.0), point_sigma=2.0)
    assert data.distorted(*sources(), kind="E", **given).options == expected.options


def test_defaults():
    images, labels = sources(size=20)
    expected = {"R": (20, 20), "RTS": (42, 42), "P": (20, 20), "E": (20, 20), "T": (60, 60), "TC": (60, 60)}
    for kind, canvas in expected.items():
        assert data.distorted(images, labels, kind=untyped(kind)).options.canvas == canvas


def test_sources_are_no_constants_of_a_program_that_takes_the_stream():
    stream = data.distorted(*sources(n=500), kind="RTS", canvas=14).stream(2)
    key = jax.random.key(0)
    passed = jax.jit(lambda s, k: s(k)).lower(stream, key).as_text()
    closed = jax.jit(lambda k: stream(k)).lower(key).as_text()
    assert len(passed) < 100_000 < len(closed)


def test_stream_is_a_pytree_with_static_options():
    stream = data.distorted(*sources(), kind="R").stream(4)
    leaves, tree = jax.tree.flatten(stream)
    assert sorted(leaf.shape for leaf in leaves) == [(7,), (7, 8, 8, 1)]
    assert jax.tree.unflatten(tree, leaves)(jax.random.key(0))["image"].shape == (4, 8, 8, 1)
    other = data.distorted(*sources(), kind="R").stream(4)
    assert jax.tree.structure(other) == tree and hash(stream) != hash(other)
    assert jax.tree.structure(data.distorted(*sources(), kind="R", degrees=5.0).stream(4)) != tree


def test_fixed_set():
    images, labels = sources()
    generator = data.distorted(images, labels, kind="RTS", canvas=14)
    long, short = generator.fixed(jax.random.key(0), repeats=3), generator.fixed(jax.random.key(0), repeats=1)
    assert isinstance(long["image"], np.ndarray) and long["image"].shape == (21, 14, 14, 1)
    np.testing.assert_array_equal(long["label"], np.tile(labels, 3))
    np.testing.assert_array_equal(long["image"][:7], short["image"])
    np.testing.assert_array_equal(long["image"], generator.fixed(jax.random.key(0), repeats=3)["image"])
    assert (long["image"][:7] != long["image"][7:14]).any()


@pytest.mark.parametrize("kind", daily(KINDS, ("TC",)))
def test_strict_dtypes_and_float64_mode(kind):
    images, labels = sources()
    expected = data.distorted(images, labels, kind=kind, canvas=14)(jax.random.key(0), 2)
    with jax.numpy_dtype_promotion("strict"), jax.enable_x64(True):
        batch = data.distorted(images.astype(np.float64), labels, kind=kind, canvas=14)(jax.random.key(0), 2)
    assert batch["image"].dtype == jnp.float32 and batch["label"].dtype == jnp.int32
    np.testing.assert_allclose(batch["image"], expected["image"], atol=1e-5)


def test_fixed_set_does_not_depend_on_chunks(monkeypatch):
    generator = data.distorted(*sources(), kind="TC", canvas=14)
    whole = generator.fixed(jax.random.key(0), repeats=2)
    monkeypatch.setattr("jaxcnn.data.generator._CHUNK_VALUES", 4 * 14 * 14)
    np.testing.assert_array_equal(generator.fixed(jax.random.key(0), repeats=2)["image"], whole["image"])


def test_fixed_shows_the_image_of_the_label():
    images = np.stack([np.full((6, 6, 1), v, np.float32) for v in (0.1, 0.4, 0.7)])
    batch = data.distorted(images, np.arange(3), kind="T", canvas=9).fixed(jax.random.key(0), repeats=2)
    np.testing.assert_allclose(batch["image"].max((1, 2, 3)), [0.1, 0.4, 0.7] * 2, atol=1e-6)


def test_rotation_is_counter_clockwise_about_the_centre():
    images, _ = sources()
    options = distortions.DistortionOptions("R", (8, 8))
    parameters = {"index": jnp.int32(2), "angle": jnp.float32(np.pi / 2)}
    turned = APPLY(jnp.asarray(images), parameters, options)
    np.testing.assert_allclose(turned, np.rot90(images[2]), atol=1e-5)


def test_ranges_of_rts():
    generator = data.distorted(*sources(n=3, size=10), kind="RTS", canvas=30)
    drawn = {name: np.asarray(value) for name, value in generator.parameters(jax.random.key(0), 4000).items()}
    degrees = np.degrees(drawn["angle"])
    assert -45 <= degrees.min() < -44 and 44 < degrees.max() <= 45
    assert abs(degrees.mean()) < 2 and abs(degrees.std() - 90 / 12**0.5) < 1
    assert 0.7 <= drawn["scale"].min() < 0.71 and 1.19 < drawn["scale"].max() <= 1.2
    assert abs(drawn["scale"].mean() - 0.95) < 0.01
    np.testing.assert_allclose(np.bincount(drawn["index"]) / 4000, 1 / 3, atol=0.03)
    assert np.abs(drawn["shift"].mean(0)).max() < 0.4 and drawn["shift"].std(0).min() > 4
    for a, b in (("angle", "scale"), ("scale", "index")):
        assert abs(np.corrcoef(drawn[a], drawn[b])[0, 1]) < 0.06


def test_rts_stays_on_the_canvas():
    images, labels = sources(n=20, size=20)
    generator = data.distorted(images, labels, kind="RTS")
    batch, drawn = generator(jax.random.key(0), 200), generator.parameters(jax.random.key(0), 200)
    mass = np.asarray(batch["image"]).sum((1, 2, 3))
    expected = images.sum((1, 2, 3))[drawn["index"]] * np.asarray(drawn["scale"]) ** 2
    # Nothing is cut off: resampling keeps the mass up to a per cent.
    np.testing.assert_allclose(mass, expected, rtol=0.02)
    # The places are used: the digit touches each side of the canvas sometimes, and within a pixel.
    lit = np.asarray(batch["image"])[..., 0] > 0.02
    for side in (lit[:, :2], lit[:, -2:], lit[:, :, :2], lit[:, :, -2:]):
        assert side.any((1, 2)).mean() > 0.02


def test_rts_centres_what_does_not_fit():
    images, labels = sources(size=20)
    generator = data.distorted(images, labels, kind="RTS", canvas=20, scale=(1.2, 1.2))
    assert float(jnp.abs(generator.parameters(jax.random.key(0), 20)["shift"]).max()) == 0
    loose = data.distorted(images, labels, kind="RTS", canvas=20, scale=(1.0, 1.0), degrees=0.0, margin=4.0)
    shift = np.abs(loose.parameters(jax.random.key(0), 300)["shift"])
    assert 3 < shift.max() <= 3.5


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("R", {"degrees": 0.0}),
        ("RTS", {"degrees": 0.0, "scale": (1.0, 1.0), "canvas": 8}),
        ("P", {"corner_sigma": 0.0, "scale": (1.0, 1.0)}),
        ("E", {"point_sigma": 0.0, "scale": (1.0, 1.0)}),
        ("E", {"point_sigma": 0.0, "scale": (1.0, 1.0), "points": 3}),
        ("T", {"canvas": 8}),
        ("TC", {"canvas": 8, "distractors": 0}),
    ],
)
def test_nothing_drawn_is_the_identity(kind, options):
    images, labels = sources()
    batch = data.distorted(images, labels, kind=kind, **options).fixed(jax.random.key(0), repeats=1)
    np.testing.assert_allclose(batch["image"], images, atol=1e-5)


@pytest.mark.parametrize("kind", daily(["P", "E"], ["P"]))
def test_scale_alone_is_a_centred_copy(kind):
    images, labels = sources(size=10)
    options = untyped({"corner_sigma": 0.0} if kind == "P" else {"point_sigma": 0.0})
    small = data.distorted(images, labels, kind=kind, scale=(0.5, 0.5), canvas=20, **options)
    expected = data.distorted(images, labels, kind="RTS", scale=(0.5, 0.5), canvas=20, degrees=0.0)
    drawn = {"index": jnp.int32(1), "angle": jnp.float32(0), "scale": jnp.float32(0.5)}
    centred = APPLY(expected.images, drawn, expected.options)
    np.testing.assert_allclose(small.fixed(jax.random.key(0), repeats=1)["image"][1], centred, atol=1e-4)


def test_corners_of_p():
    images, labels = sources(size=28)
    generator = data.distorted(images, labels, kind="P", canvas=60, scale=(1.0, 1.0))
    moved = np.asarray(generator.parameters(jax.random.key(0), 2000)["corners"])
    straight = np.array([[-14, -14], [14, -14], [14, 14], [-14, 14]])
    np.testing.assert_allclose((moved - straight).std((0, 1)), 5, rtol=0.05)
    half = data.distorted(images, labels, kind="P", canvas=28, corner_sigma=2.0)
    corners = np.asarray(half.parameters(jax.random.key(0), 500)["corners"])
    fits = (corners.max(1) - corners.min(1)) <= 28
    assert fits.mean() > 0.3 and (np.abs(corners).max(1)[fits] <= 14 + 1e-4).all()


def test_corners_of_p_are_where_the_image_goes():
    """A bright mark in a corner of the image lands at the corner that was drawn."""
    image = np.zeros((1, 20, 20, 1), np.float32)
    image[0, :4, -4:] = 1  # upper right
    generator = data.distorted(image, np.arange(1), kind="P", canvas=50, corner_sigma=3.0)
    batch, drawn = generator(jax.random.key(2), 30), generator.parameters(jax.random.key(2), 30)
    weight = np.asarray(batch["image"])[..., 0]
    rows, columns = np.mgrid[:50, :50] - 24.5
    centre = np.stack([(weight * columns).sum((1, 2)), (weight * rows).sum((1, 2))], -1) / weight.sum((1, 2))[:, None]
    distance = np.linalg.norm(centre - np.asarray(drawn["corners"])[:, 1], axis=-1)
    assert np.median(distance) < 3 and distance.max() < 6


def test_normal_deviates_are_normal():
    generator = data.distorted(*sources(), kind="E", point_sigma=1.0)
    drawn = np.asarray(generator.parameters(jax.random.key(0), 2000)["offsets"]).ravel() * 28 / 8
    drawn = np.sort(drawn)
    expected = np.array([NormalDist().cdf(v) for v in drawn[::16]])
    steps = np.arange(len(drawn))[::16] / len(drawn)
    assert np.abs(expected - steps).max() < 1.63 / len(drawn) ** 0.5  # Kolmogorov-Smirnov at 1 %


def test_offsets_of_e():
    images, labels = sources(size=28)
    generator = data.distorted(images, labels, kind="E")
    offsets = np.asarray(generator.parameters(jax.random.key(0), 1000)["offsets"])
    assert offsets.shape == (1000, 16, 2)
    np.testing.assert_allclose(offsets.std((0, 1)), 1.5, rtol=0.03)
    scale = np.asarray(generator.parameters(jax.random.key(0), 1000)["scale"])
    assert 0.75 <= scale.min() < 0.76 and 0.99 < scale.max() <= 1


def test_t_places_whole_pixels_everywhere():
    images, labels = sources(n=2, size=4)
    generator = data.distorted(images, labels, kind="T", canvas=(6, 5))
    batch, drawn = generator(jax.random.key(0), 300), generator.parameters(jax.random.key(0), 300)
    places = {tuple(place) for place in np.asarray(drawn["place"]).tolist()}
    assert places == {(r, c) for r in range(3) for c in range(2)}
    for i in range(5):
        r, c = np.asarray(drawn["place"][i])
        np.testing.assert_array_equal(batch["image"][i, r : r + 4, c : c + 4], images[drawn["index"][i]])
        assert np.count_nonzero(batch["image"][i]) == 16


def test_tc_adds_patches_of_other_images():
    values = np.linspace(0.2, 0.9, 5).astype(np.float32)
    images = np.broadcast_to(values[:, None, None, None], (5, 8, 8, 1))
    plain = data.distorted(images, np.arange(5), kind="T", canvas=60)
    cluttered = data.distorted(images, np.arange(5), kind="TC", canvas=60)
    assert (cluttered.options.distractors, cluttered.options.patch) == (6, 6)
    clean, full = (np.asarray(g(jax.random.key(0), 50)["image"]) for g in (plain, cluttered))
    assert (full >= clean).all(), "the digit is covered by a darker patch"
    extra = (full != clean).sum((1, 2, 3))
    assert extra.min() > 36 and extra.max() <= 6 * 36 and (extra == 6 * 36).any()
    own = values[np.asarray(cluttered(jax.random.key(0), 50)["label"])]
    for picture, without, value in zip(full, clean, own, strict=True):
        assert value not in picture[picture != without], "a patch of the digit itself"
        assert set(np.unique(picture)) <= {0.0, *values}


def test_tc_patches_are_cut_anywhere():
    images, labels = sources(n=4, size=8)
    drawn = data.distorted(images, labels, kind="TC", canvas=12).parameters(jax.random.key(0), 500)
    assert set(np.unique(drawn["patch_step"])) == {1, 2, 3}
    assert set(np.unique(drawn["patch_from"])) == {0, 1, 2}
    assert set(np.unique(drawn["patch_place"])) == set(range(7))


@pytest.mark.parametrize(
    ("argument", "options"),
    [
        ("kind", {"kind": "X"}),
        ("canvas", {"kind": "T", "canvas": 7}),
        ("canvas", {"kind": "R", "canvas": 0}),
        ("canvas", {"kind": "R", "canvas": (3, 3, 3)}),
        ("degrees", {"kind": "E", "degrees": 3.0}),
        ("degrees", {"kind": "R", "degrees": -3.0}),
        ("scale", {"kind": "P", "scale": (1.0, 0.5)}),
        ("scale", {"kind": "P", "scale": (0.0, 0.5)}),
        ("scale", {"kind": "P", "scale": (0.5,)}),
        ("corner_sigma", {"kind": "P", "corner_sigma": -1.0}),
        ("points", {"kind": "E", "points": 1}),
        ("points", {"kind": "E", "points": 3.5}),
        ("points", {"kind": "E", "points": True}),
        ("canvas", {"kind": "R", "canvas": "ab"}),
        ("degrees", {"kind": "R", "degrees": "a"}),
        ("degrees", {"kind": "R", "degrees": np.nan}),
        ("scale", {"kind": "P", "scale": 0.5}),
        ("scale", {"kind": "P", "scale": ("a", 1.0)}),
        ("patch", {"kind": "TC", "patch": 9}),
        ("patch", {"kind": "TC", "patch": 2.5}),
        ("distractors", {"kind": "TC", "distractors": 2.5}),
        ("distractors", {"kind": "TC", "distractors": -1}),
    ],
)
@pytest.mark.errors
def test_wrong_option(argument, options):
    with pytest.raises(ValueError, match=f"distorted: {argument} must be .*, got"):
        data.distorted(*sources(), **options)


@pytest.mark.errors
@pytest.mark.parametrize(
    ("argument", "images", "labels"),
    [
        ("images", np.zeros((3, 8, 8), np.float32), np.zeros(3, int)),
        ("images", np.zeros((0, 8, 8, 1), np.float32), np.zeros(0, int)),
        ("images", np.zeros((3, 8, 8, 1), np.int32), np.zeros(3, int)),
        ("labels", np.zeros((3, 8, 8, 1), np.float32), np.zeros(2, int)),
        ("labels", np.zeros((3, 8, 8, 1), np.float32), np.zeros(3, np.float32)),
    ],
)
def test_wrong_sources(argument, images, labels):
    with pytest.raises(ValueError, match=f"distorted: {argument} must be .*, got"):
        data.distorted(images, labels, kind="R")


def test_one_image_has_no_others_for_clutter():
    with pytest.raises(ValueError, match="distractors must be 0"):
        data.distorted(*sources(n=1), kind="TC")


def test_counts_must_be_positive():
    generator = data.distorted(*sources(), kind="R")
    for call in (lambda: generator(jax.random.key(0), 0), lambda: generator.stream(0)):
        with pytest.raises(ValueError, match="must be a positive integer"):
            call()
    with pytest.raises(ValueError, match="repeats must be"):
        generator.fixed(jax.random.key(0), repeats=0)


def test_errors_of_keys_of_a_generator():
    images, labels = data.digits(split="test")
    generator, seed = data.distorted(images, labels, kind="R"), untyped(0)
    for call in (lambda: generator(seed, 3), lambda: generator.parameters(seed, 3), lambda: generator.fixed(seed)):
        with pytest.raises(ValueError, match=r"Generator: key must be one typed key, got 0; jax.random.key\(0\)"):
            call()
