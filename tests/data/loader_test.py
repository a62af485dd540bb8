"""Host batches by number, and their way to the device."""

import gc
import threading
import time

import jax
import numpy as np
import pytest
from PIL import Image

from jaxcnn import data
from tests.support.untyped import untyped


def arrays(n: int = 10):
    return np.arange(n, dtype=np.uint8).reshape(n, 1, 1, 1), np.arange(n)


def shown(batch) -> list[int]:
    return batch["label"].tolist()


class Items:
    """A source that counts what is asked of it."""

    def __init__(self, n: int, many: bool = False):
        self.n, self.asked = n, []
        if many:
            self.__getitems__ = lambda indices: [self[i] for i in indices]

    def __len__(self):
        return self.n

    def __getitem__(self, i):
        self.asked.append(i)
        return {"image": np.full((2, 2, 1), i, np.uint8), "label": i, "name": str(i)}


def test_every_epoch_shows_every_example_once_in_its_own_order():
    loader = data.Loader(arrays(), 5, seed=3)
    assert loader.steps_per_epoch == 2
    epochs = [shown(loader[2 * e]) + shown(loader[2 * e + 1]) for e in range(4)]
    assert all(sorted(epoch) == list(range(10)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 4


def test_batch_depends_on_seed_and_number_only():
    first, second = data.Loader(arrays(), 3, seed=3), data.Loader(arrays(), 3, seed=3)
    forwards = [shown(first[step]) for step in range(9)]
    backwards = [shown(second[step]) for step in reversed(range(9))]
    assert forwards == backwards[::-1]
    assert forwards != [shown(data.Loader(arrays(), 3, seed=4)[step]) for step in range(9)]


def test_order_is_the_same_for_ever():
    """The permutation is built on a stream that NumPy promises to keep; another order would break resumed runs."""
    assert shown(data.Loader(arrays(), 10, seed=0)[0]) == [0, 2, 9, 1, 8, 5, 4, 3, 6, 7]


def test_drop_last():
    dropped, kept = (data.Loader(arrays(), 4, seed=0, drop_last=d) for d in (True, False))
    assert (dropped.steps_per_epoch, kept.steps_per_epoch) == (2, 3)
    assert [len(shown(kept[i])) for i in range(4)] == [4, 4, 2, 4]
    assert sorted(label for i in range(3) for label in shown(kept[i])) == list(range(10))
    assert len(shown(dropped[2])) == 4


def test_epoch_is_complete_and_in_order():
    loader = data.Loader(arrays(), 4, seed=0)
    for _ in range(2):
        assert [shown(batch) for batch in loader.epoch()] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]
    assert [shown(batch) for batch in loader] == [[0, 1, 2, 3], [4, 5, 6, 7], [8, 9]]


def test_no_shuffle():
    loader = data.Loader(arrays(), 5, seed=0, shuffle=False)
    assert shown(loader[0]) == shown(loader[2]) == [0, 1, 2, 3, 4]


def test_dtypes():
    batch = data.Loader(arrays(), 4, seed=0, shuffle=False)[0]
    assert batch["image"].dtype == np.float32 and batch["label"].dtype == np.int32
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], np.arange(4, dtype=np.float32) / np.float32(255))
    raw = data.Loader(arrays(), 4, seed=0, shuffle=False, as_float=False)[0]
    assert raw["image"].dtype == np.uint8
    images = np.linspace(-1, 3, 10, dtype=np.float32).reshape(10, 1, 1, 1)
    soft = np.eye(10, dtype=np.float32)
    batch = data.Loader((images, soft), 10, seed=0, shuffle=False)[0]
    np.testing.assert_array_equal(batch["image"], images)
    np.testing.assert_array_equal(batch["label"], soft)


def test_mapping_of_arrays():
    images, labels = arrays()
    batch = data.Loader({"image": images, "label": labels, "weight": labels / 2}, 4, seed=1)[5]
    np.testing.assert_allclose(batch["weight"], batch["label"] / 2)


@pytest.mark.parametrize("many", [False, True])
def test_random_access_source_is_read_when_needed(many):
    source = Items(10, many)
    loader = data.Loader(source, 4, seed=0)
    assert source.asked == []
    batch = loader[7]
    assert source.asked == shown(batch) and len(source.asked) == 4
    assert batch["image"].shape == (4, 2, 2, 1) and batch["image"].dtype == np.float32
    np.testing.assert_allclose(batch["image"][:, 0, 0, 0] * 255, batch["label"], rtol=1e-6)
    assert batch["name"].tolist() == [str(i) for i in shown(batch)]
    assert shown(data.Loader(arrays(), 4, seed=0)[7]) == shown(batch)


def test_image_folder_as_source(tmp_path):
    for i, name in enumerate(("a", "b")):
        (tmp_path / name).mkdir()
        Image.new("L", (4, 4 + i), 255 * i).save(tmp_path / name / "1.png")
    batch = data.Loader(data.image_folder(tmp_path, size=3), 2, seed=0)[0]
    np.testing.assert_array_equal(batch["image"][:, 0, 0, 0], batch["label"])
    with pytest.raises(
        ValueError, match=r"Loader: source must be of items of one shape .*'image', got \(4, 4, 3\) and"
    ):
        data.Loader(data.image_folder(tmp_path), 2, seed=0)[0]


@pytest.mark.parametrize(
    ("message", "source", "options"),
    [
        ("batch_size must be a positive", arrays(), {"batch_size": 0}),
        ("batch_size must be at most", arrays(), {"batch_size": 11}),
        ("seed must be", arrays(), {"seed": -1}),
        ("source must be arrays of one length", (np.zeros(3), np.zeros(4)), {}),
        ("source must be arrays of one length", (np.zeros(()), np.zeros(4)), {}),
        (r"source must be \(images, labels\)", (np.zeros(3),), {}),
        ("source must be arrays, or items", iter([]), {}),
        ("source must be at least one example", (np.zeros((0, 1)), np.zeros(0)), {}),
    ],
)
@pytest.mark.errors
def test_wrong_source_or_option(message, source, options):
    with pytest.raises(ValueError, match=f"Loader: {message}.*, got"):
        data.Loader(source, **{"batch_size": 1, "seed": 0, **options})


def test_wrong_items_and_steps():
    with pytest.raises(ValueError, match="Loader: source must be of items"):
        data.Loader(untyped([np.zeros(3)]), 1, seed=0)[0]
    with pytest.raises(IndexError, match="step must be >= 0"):
        data.Loader(arrays(), 1, seed=0)[-1]
    with pytest.raises(TypeError):
        data.Loader(arrays(), 1, seed=0)[untyped(1.5)]


# prefetch


def prefetch_threads() -> int:
    return sum(thread.name == "jaxcnn-prefetch" for thread in threading.enumerate())


def batches(n: int):
    return ({"image": np.full((2, 2), i, np.float32), "label": np.full(2, i)} for i in range(n))


@pytest.mark.parametrize("size", [1, 2, 50])
def test_prefetch_keeps_the_order(size):
    result = list(data.prefetch(batches(20), size=size))
    assert [int(batch["label"][0]) for batch in result] == list(range(20))
    assert all(isinstance(batch["image"], jax.Array) for batch in result)
    assert prefetch_threads() == 0


def test_prefetch_places_batches():
    device = jax.devices()[-1]
    for batch in data.prefetch(batches(2), sharding=device):
        assert batch["image"].devices() == {device}
    sharding = jax.sharding.NamedSharding(jax.make_mesh((2,), ("data",)), jax.P("data"))
    for batch in data.prefetch(batches(2), sharding=sharding):
        assert batch["image"].sharding == sharding


def test_prefetch_is_ahead_but_bounded():
    made = []

    def source():
        for i in range(100):
            made.append(i)
            yield np.zeros(1)

    iterator = data.prefetch(source(), size=3)
    assert made == []
    next(iterator)
    deadline = time.monotonic() + 10
    while len(made) < 4 and time.monotonic() < deadline:
        time.sleep(0.01)
    time.sleep(0.05)
    assert len(made) == 4
    iterator.close()
    assert prefetch_threads() == 0 and len(made) == 4


def test_prefetch_raises_where_the_batch_would_have_come():
    def source():
        yield np.zeros(1)
        yield np.ones(1)
        raise KeyError("broken source")

    iterator = untyped(data.prefetch(source(), size=5))
    assert [next(iterator)[0], next(iterator)[0]] == [0, 1]
    with pytest.raises(KeyError, match="broken source"):
        next(iterator)
    assert list(iterator) == []
    assert prefetch_threads() == 0


def test_prefetch_raises_what_cannot_be_sent():
    with pytest.raises(TypeError):
        list(data.prefetch([{"name": object()}]))


def test_prefetch_ends_its_thread_when_dropped():
    def use():
        for _ in data.prefetch(batches(100)):
            break

    use()
    gc.collect()
    assert prefetch_threads() == 0


def test_prefetch_unused_starts_nothing():
    iterator = data.prefetch(batches(3))
    assert prefetch_threads() == 0
    iterator.close()


def test_prefetch_size_must_be_positive():
    with pytest.raises(ValueError, match="prefetch: size must be a positive integer, got 0"):
        data.prefetch([], size=0)


@pytest.mark.parametrize("shuffle", [True, False])
def test_threads_read_the_same_batches(shuffle):
    plain, ahead = (data.Loader(Items(10), 3, seed=1, shuffle=shuffle, threads=threads) for threads in (0, 4))
    for step in (0, 1, 2, 3, 4, 9, 10, 2, 3):  # continues over epochs, jumps, goes back
        assert shown(plain[step]) == shown(ahead[step])
    for _ in range(2):
        assert [shown(batch) for batch in ahead] == [shown(batch) for batch in plain]


def test_threads_read_ahead_but_not_everything():
    source = Items(200)
    loader = data.Loader(source, 1, seed=0, threads=3)
    loader[0]
    deadline = time.monotonic() + 10
    while len(source.asked) < 2 and time.monotonic() < deadline:
        time.sleep(0.01)
    assert len(source.asked) <= 1 + 2 * 3


def test_an_error_in_a_thread_is_raised_in_place_of_its_batch():
    class Broken(Items):
        repaired = False

        def __getitem__(self, i):
            if i == 3 and not self.repaired:
                raise OSError("item 3 is damaged")
            return super().__getitem__(i)

    source = Broken(8)
    loader = data.Loader(source, 2, seed=0, shuffle=False, threads=2)
    assert shown(loader[0]) == [0, 1]
    with pytest.raises(OSError, match="item 3"):
        loader[1]
    source.repaired = True
    assert shown(loader[1]) == [2, 3]
    assert shown(loader[2]) == [4, 5]
