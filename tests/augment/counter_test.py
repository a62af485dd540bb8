"""Counter streams: what they are a function of, and tests of randomness, each with the false alarms of a fair stream.

Keys are fixed, so a test that passes passes always; limits are those that a fair stream breaks once in a million tests.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, NamedSharding
from jax.sharding import PartitionSpec as P
from scipy import stats

from jaxcnn.augment.counter import counter_bits, counter_normal, counter_uniform
from tests.support import released
from tests.support.selection import daily, daily_cases
from tests.support.untyped import untyped

ALARMS = 1e-6
COUNT = 2**20
DRAWS = [counter_bits, counter_uniform, counter_normal]
GOLDEN = ["bfdcc960", "89a2ef68", "348348b1", "e21278dc"]
GOLDEN_NORMAL = [-0.67618126, -1.77872527, 0.82344288, -0.29736352]


def stream(key, *shape, draw=counter_bits):
    """Draws under jit, as NumPy array."""
    return np.asarray(drawn(draw, shape)(key))


@functools.cache
def drawn(draw, shape):
    """Keeps the compiled functions, of one key or several."""
    return jax.jit(lambda key: jax.vmap(lambda k: draw(k, shape))(key) if key.ndim else draw(key, shape))


def streams(keys, *shape, draw=counter_bits):
    """Draws for several keys."""
    return stream(keys, *shape, draw=draw)


def many_keys(kind, count=256):
    """Makes the keys that a run uses: of seeds, by consecutive ``fold_in``, by ``split``."""
    key = jax.random.key(11)
    if kind == "split":
        return jax.random.split(key, count)
    make = jax.random.key if kind == "seed" else functools.partial(jax.random.fold_in, key)
    return jax.vmap(make)(np.arange(count))


KINDS = ["seed", "fold_in", "split"]


def assert_fair(scores, tests=None):
    """Compares scores that are standard normal for a fair stream with what the largest of so many may be."""
    scores = np.asarray(scores)
    limit = stats.norm.isf(ALARMS / 2 / (tests or scores.size))
    assert np.abs(scores).max() < limit, f"a score of {np.abs(scores).max():.1f} beyond {limit:.1f}"


def assert_likely(count, law):
    """Compares a count with both tails of its law."""
    assert min(law.cdf(count), law.sf(count - 1)) > ALARMS / 2, f"{count} where {law.mean():.1f} are expected"


def bit_scores(words, axis=0):
    """Gives the scores of the 32 counts of ones along an axis."""
    ones = np.stack([((words >> np.uint32(bit)) & 1).sum(axis, dtype=np.int64) for bit in range(32)])
    n = words.shape[axis]
    return (2 * ones - n) / np.sqrt(n)


def mix(x):
    """The bijection, in Python's integers."""
    x = ((x ^ (x >> 16)) * 0x21F0AAAD) % 2**32
    x = ((x ^ (x >> 15)) * 0xD35A2D97) % 2**32
    return x ^ (x >> 15)


def documented(data, index):
    """The words as the documentation writes them, in Python's integers."""
    words = []
    for start in (0x9E3779B9, 0x3C6EF372, 0xDAA66D2B):
        word = functools.reduce(lambda word, part: mix(word ^ part), data, start)
        words.append(mix(word ^ len(data)))
    first = mix(index % 2**32 ^ words[0])
    return (mix(mix(first ^ words[1]) ^ words[2]) + first) % 2**32


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg", "unsafe_rbg"])
def test_bits_are_the_documented_function(impl):
    key = jax.random.key(123456789, impl=impl)
    data = [int(word) for word in jax.random.key_data(key)]
    want = np.array([documented(data, i) for i in range(60)], np.uint32)
    np.testing.assert_array_equal(stream(key, 5, 4, 3), want.reshape(5, 4, 3))


def test_the_stream_stays_what_it_is():
    got = [f"{int(word):08x}" for word in counter_bits(jax.random.key(0), (4,))]
    assert got == GOLDEN
    np.testing.assert_allclose(counter_normal(jax.random.key(0), (4,)), GOLDEN_NORMAL, rtol=2e-6)


@pytest.mark.parametrize("draw", DRAWS)
def test_a_value_depends_on_key_and_place_only(draw, key):
    whole = stream(key, 6, 5, 3, draw=draw)
    np.testing.assert_array_equal(stream(key, 90, draw=draw), whole.reshape(-1))
    np.testing.assert_array_equal(stream(key, 2, 5, 3, draw=draw), whole[:2])
    assert stream(key, draw=draw) == whole[0, 0, 0]
    assert stream(key, 3, 0, 2, draw=draw).shape == (3, 0, 2)


@pytest.mark.parametrize(
    ("draw", "impl"),
    daily_cases(
        [(draw, impl) for draw in DRAWS for impl in ("threefry2x32", "rbg")],
        [(DRAWS[0], "rbg"), (DRAWS[-1], "threefry2x32")],
    ),
)
def test_an_example_does_not_depend_on_its_batch(draw, impl):
    keys = jax.random.split(jax.random.key(4, impl=impl), 6)
    batch = streams(keys, 4, 5, 3, draw=draw)
    np.testing.assert_array_equal(streams(keys[2:5], 4, 5, 3, draw=draw), batch[2:5])
    for i in range(6):
        np.testing.assert_array_equal(stream(keys[i], 4, 5, 3, draw=draw), batch[i])


@pytest.mark.parametrize("dtype", daily(["bfloat16", "float16", "float32"], ["bfloat16"]))
def test_dtypes(key, dtype):
    uniform, normal = (draw(key, (40_000,), dtype=dtype) for draw in (counter_uniform, counter_normal))
    assert uniform.dtype == normal.dtype == jnp.dtype(dtype)
    assert float(uniform.min()) >= 0 and float(uniform.max()) < 1
    step = 2.0 ** -(int(jnp.finfo(dtype).nmant) + 1)
    wide = np.asarray(counter_uniform(key, (40_000,)), np.float64)
    np.testing.assert_array_equal(uniform.astype(np.float32), np.floor(wide / step) * step)
    np.testing.assert_array_equal(normal, counter_normal(key, (40_000,)).astype(dtype))


def test_uniform_and_normal_follow_the_bits(key):
    bits = stream(key, COUNT).astype(np.int64)
    np.testing.assert_array_equal(stream(key, COUNT, draw=counter_uniform), (bits >> 8) / 2.0**24)
    tail = ((bits & 0x7FFFFFFF) + 0.5) / 2.0**31
    want = np.where(bits >> 31, 1.0, -1.0) * stats.norm.ppf(tail / 2)
    got = stream(key, COUNT, draw=counter_normal)
    np.testing.assert_allclose(got, want, rtol=2e-6, atol=1e-6)


def test_moments():
    z = streams(many_keys("fold_in", 16), COUNT // 8, draw=counter_normal).astype(np.float64).ravel()
    n = z.size
    scales = np.sqrt([1 / n, 2 / n, 15 / n, 96 / n])  # of the means of z, z^2 - 1, z^3, z^4 - 3
    assert_fair(np.array([z.mean(), (z**2).mean() - 1, (z**3).mean(), (z**4).mean() - 3]) / scales)
    u = streams(many_keys("fold_in", 16), COUNT // 8, draw=counter_uniform).astype(np.float64).ravel() + 2.0**-25
    assert_fair(np.array([u.mean() - 1 / 2, (u**2).mean() - 1 / 3]) / np.sqrt([1 / 12 / n, 4 / 45 / n]))


@pytest.mark.parametrize(("draw", "law"), [(counter_normal, stats.norm), (counter_uniform, stats.uniform)])
def test_distribution(draw, law, key):
    """Kolmogorov and Smirnov."""
    n = COUNT
    expected = law.cdf(np.sort(stream(key, n, draw=draw).astype(np.float64)))
    above, below = np.arange(1, n + 1) / n - expected, expected - np.arange(n) / n
    assert max(above.max(), below.max()) * np.sqrt(n) < np.sqrt(-np.log(ALARMS / 2) / 2)


@functools.cache
def four_million():
    return streams(many_keys("fold_in", 16), COUNT // 4, draw=counter_normal)


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize("sigmas", [1, 2, 3, 4, 4.5, 5])
def test_tails(sigmas, sign):
    z = four_million()
    assert_likely((sign * z > sigmas).sum(), stats.binom(z.size, stats.norm.sf(sigmas)))


def test_largest_numbers_are_right():
    """No draw is beyond 6.4, and the largest of four million is as large as it should be."""
    largest = np.abs(streams(many_keys("split", 16), COUNT // 4, draw=counter_normal)).max()
    chance = (1 - 2 * stats.norm.sf(largest)) ** (4 * COUNT)
    assert ALARMS / 2 < chance < 1 - ALARMS / 2


@pytest.mark.parametrize("kind", daily(KINDS, ["fold_in"]))
def test_bits_and_bytes(kind):
    words = streams(many_keys(kind), COUNT // 256).ravel()
    assert_fair(bit_scores(words))
    chances = []
    for width, shifts in ((8, (0, 8, 16, 24)), (16, (0, 16))):
        for shift in shifts:
            counts = np.bincount((words >> np.uint32(shift)) & np.uint32(2**width - 1), minlength=2**width)
            chances.append(stats.chisquare(counts).pvalue)
    pairs = (words[::2] >> np.uint32(24)) * np.uint32(256) + (words[1::2] >> np.uint32(24))
    chances.append(stats.chisquare(np.bincount(pairs, minlength=2**16)).pvalue)
    assert min(chances) > ALARMS / len(chances) and max(chances) < 1 - ALARMS / len(chances)


def test_bits_of_neighbours_are_independent(key):
    """Bit by bit and lag by lag, lags of pixels, rows and channels of usual images among them."""
    words = stream(key, COUNT // 4)
    lags = [*range(1, 65), *(c * w for c in (1, 3) for w in (28, 32, 96, 128, 224, 256, 384)), 224 * 224]
    assert_fair(np.stack([bit_scores(words[lag:] ^ words[:-lag]) for lag in lags]))


def test_numbers_of_neighbours_are_uncorrelated(key):
    z = stream(key, COUNT, draw=counter_normal).astype(np.float64)
    lags = [*range(1, 65), *(c * w for c in (1, 3) for w in (28, 32, 96, 128, 224, 256, 384))]
    scores = [[(a[lag:] * b[:-lag]).mean() * np.sqrt(z.size - lag) / sd for lag in lags] for a, b, sd in products(z)]
    assert_fair(scores)


def products(z):
    """Gives numbers, their squares and both, with the deviation of their product."""
    square = z**2 - 1
    return [(z, z, 1), (square, square, 2), (z, square, np.sqrt(2))]


def test_channels_are_uncorrelated(key):
    z = stream(key, 512, 256, 3, draw=counter_normal).astype(np.float64)
    scores = [
        (a[..., i] * b[..., j]).mean() * np.sqrt(512 * 256) / sd
        for a, b, sd in products(z)
        for i, j in ((0, 1), (0, 2), (1, 2))
    ]
    assert_fair(scores)


@pytest.mark.parametrize("kind", daily(KINDS, ["fold_in"]))
def test_keys_are_uncorrelated(kind):
    n = 4096
    z = streams(many_keys(kind), n, draw=counter_normal).astype(np.float64)
    pairs = np.triu_indices(len(z), 1)
    for shift in (0, 1, 3):
        scores = z[:, : n - shift] @ z[:, shift:].T / np.sqrt(n - shift)
        assert_fair(scores[pairs])


@pytest.mark.parametrize("kind", daily(KINDS, ["fold_in"]))
def test_no_relation_between_keys(kind):
    """No value of one stream is that of the next one, a few places on, moved by a sum or an exclusive or."""
    words = streams(many_keys(kind, 65), 4096)
    a, b = words[:-1], words[1:]
    for shift in (-3, -1, 0, 1, 3):
        moved = np.roll(b, shift, axis=1)
        for relation in (a ^ moved, a - moved, a + moved):
            assert_fair(bit_scores(relation, axis=1))
            same = sum(4096 - np.unique(row).size for row in relation)
            assert_likely(same, stats.poisson(64 * 4096**2 / 2**33))


@pytest.mark.nightly
@pytest.mark.parametrize("kind", daily(KINDS, ["fold_in"]))
def test_values_come_again_as_often_as_by_chance(kind):
    """Birthdays: within one stream, where a permutation of the counter would never repeat, and among all keys."""
    keys = many_keys(kind)
    n = COUNT // 2
    one, all_keys = stream(keys[0], n), streams(keys, n // 256).ravel()
    for words in (one, all_keys):
        assert_likely(n - np.unique(words).size, stats.poisson(n**2 / 2**33))
    half = one[: n // 16] >> np.uint32(4)
    assert_likely(half.size - np.unique(half).size, stats.poisson(half.size**2 / 2**29))


def test_avalanche_of_the_counter(key):
    words = stream(key, COUNT // 4)
    places = np.arange(words.size)
    flips = [words ^ words[places ^ (1 << bit)] for bit in range(18)]
    # Each pair comes twice, so half of the words are taken.
    halves = [flip[(places >> bit) % 2 == 0] for bit, flip in enumerate(flips)]
    assert_fair(np.stack([bit_scores(half) for half in halves]))


def test_avalanche_of_the_key():
    data = np.random.default_rng(0).integers(0, 2**32, (4096, 2), np.uint32)

    @jax.jit
    def words(data):
        return jax.vmap(lambda d: counter_bits(jax.random.wrap_key_data(d), (8,)))(data)

    plain = np.asarray(words(data))
    scores = []
    for bit in range(64):
        flip = np.array([(1 << bit) % 2**32, (1 << bit) >> 32], np.uint64).astype(np.uint32)
        scores.append(bit_scores(plain ^ np.asarray(words(data ^ flip))))
    assert_fair(scores)


def test_spectrum_is_flat():
    """Power has a gamma distribution: at every frequency, over 64 images, and summed along rows and columns."""
    size, images = 128, 64
    z = streams(many_keys("fold_in", images), size, size, draw=counter_normal).astype(np.float64)
    power = np.abs(np.fft.rfft2(z)[:, :, 1 : size // 2]) ** 2 / size**2
    for sums, count in ((power.sum(0), images), (power.sum((0, 1)), images * size), (power.sum((0, 2)), images * 63)):
        law = stats.gamma(count)
        chances = np.minimum(law.cdf(sums), law.sf(sums))
        assert chances.min() > ALARMS / 2 / sums.size


def test_ranks_of_binary_matrices(key):
    """The rank over two elements of matrices of 32 words."""
    rows = stream(key, 4000, 32).astype(np.uint64)
    ranks = np.zeros(4000, np.int64)
    for bit in range(32):
        has = (rows >> np.uint64(bit)) & np.uint64(1)
        pivot = has.argmax(1)
        found = has.any(1)
        pivots = np.where(found, rows[np.arange(4000), pivot], np.uint64(0))
        rows = rows ^ np.where(has == 1, pivots[:, None], np.uint64(0))  # clears the pivot's own row, too
        ranks += found
    expected = np.array([0.2887880952, 0.5775761902, 0.1283502644])
    counts = [(ranks == 32).sum(), (ranks == 31).sum(), (ranks == 30).sum(), (ranks < 30).sum()]
    assert stats.chisquare(counts, 4000 * np.array([*expected, 1 - expected.sum()])).pvalue > ALARMS


def test_gradient_passes_by(key):
    slope = jax.grad(lambda sigma: (sigma * counter_normal(key, (3, 2))).sum())(0.5)
    np.testing.assert_allclose(slope, counter_normal(key, (3, 2)).sum(), rtol=1e-6)


@pytest.mark.parametrize("draw", daily(DRAWS, DRAWS[-1:]))
def test_sharded_keys(draw):
    keys = jax.random.split(jax.random.key(1), 4)
    want = streams(keys, 4, 3, draw=draw)
    function = jax.vmap(lambda key: draw(key, (4, 3)))
    for kind in (AxisType.Auto, AxisType.Explicit):
        mesh = jax.make_mesh((2,), ("data",), axis_types=(kind,), devices=jax.devices()[:2])
        with jax.set_mesh(mesh):
            got = jax.jit(function)(jax.device_put(keys, NamedSharding(mesh, P("data"))))
        np.testing.assert_array_equal(got, want)
        assert got.sharding.spec[0] == "data"
    mesh = jax.make_mesh((2,), ("data",), axis_types=(AxisType.Auto,), devices=jax.devices()[:2])
    mapped = jax.shard_map(function, mesh=mesh, in_specs=P("data"), out_specs=P("data"))
    np.testing.assert_array_equal(jax.jit(mapped)(keys), want)


@pytest.mark.parametrize("draw", DRAWS)
def test_lowers_for_every_platform(draw):
    data = jax.ShapeDtypeStruct((2,), jnp.uint32)
    function = jax.jit(lambda data: draw(jax.random.wrap_key_data(data), (4, 3)))
    exported = jax.export.export(function, platforms=("cpu", "cuda", "tpu"))(data)
    assert exported.platforms == ("cpu", "cuda", "tpu")


def test_noise_is_one_pass_with_what_surrounds_it(key):
    """Nothing of the size of an image is stored on the way."""
    image = jax.ShapeDtypeStruct((64, 64, 3), jnp.float32)
    noisy = released.jit(lambda key, image: jnp.clip(image + 0.1 * counter_normal(key, image.shape), 0, 1))
    compiled = untyped(noisy).lower(key, image).compile()
    assert compiled.memory_analysis().temp_size_in_bytes < 64 * 64 * 3


@pytest.mark.errors
@pytest.mark.parametrize("draw", DRAWS)
def test_errors(draw, key):
    name = draw.__name__
    with pytest.raises(
        ValueError, match=rf"{name}: key must be one typed key, got uint32\(2,\), an old-style key; jax.random.wrap"
    ):
        draw(jnp.zeros(2, jnp.uint32), (3,))
    with pytest.raises(ValueError, match=rf"{name}: key must be one typed key, got key<fry>\(2,\); jax.vmap maps"):
        draw(jax.random.split(key), (3,))
    for shape in (3, (2.0,), (-1,), (True,)):
        with pytest.raises(ValueError, match=f"{name}: shape must be a sequence of integers of at least 0"):
            draw(key, shape)
    if draw is not counter_bits:
        with pytest.raises(ValueError, match=f"{name}: dtype must be of a floating dtype, got int32"):
            draw(key, (3,), dtype=jnp.int32)
