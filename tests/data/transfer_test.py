"""Prefetched batches are those of the source: by number, pass after pass, and when a run is continued."""

import threading
import time

import jax
import numpy as np
import optax
import pytest

from jaxcnn import data, train
from tests.support.training_models import Linear, assert_same, host_batch
from tests.support.untyped import untyped

WHOLE = host_batch(0, 40)


def loader(**options):
    return data.Loader((WHOLE["image"], WHOLE["label"]), 8, seed=3, **options)


def threads() -> int:
    return sum(thread.name == "jaxcnn-prefetch" for thread in threading.enumerate())


def test_batches_by_number_are_those_of_the_loader():
    plain, ahead = loader(), untyped(data.prefetch(loader()))
    for step in (0, 1, 2, 7, 8, 3, 3):  # continues over epochs, jumps, goes back, repeats
        np.testing.assert_array_equal(ahead[step]["image"], plain[step]["image"])
        assert isinstance(ahead[step - 1 if step else 0]["label"], jax.Array)
    for _ in range(2):  # two passes in the source's order
        assert np.concatenate([b["label"] for b in ahead]).tolist() == WHOLE["label"].tolist()
        assert np.concatenate([b["label"] for b in ahead.epoch()]).tolist() == WHOLE["label"].tolist()
    ahead.close()
    assert threads() == 0


def fit(batches, **options):
    return train.fit(jax.random.key(0), Linear(), optax.adam(1e-2), batches, steps=12, checkpoint_every=6, **options)


def test_training_takes_the_same_steps(tmp_path):
    """Also past the end of an epoch (5 batches), and when a run is continued in the middle of one."""
    expected = fit(loader(), evaluate=loader())
    result = fit(data.prefetch(loader()), evaluate=data.prefetch(loader()))
    assert_same(result.state, expected.state)
    assert result.evaluation == expected.evaluation
    train.fit(jax.random.key(0), Linear(), optax.adam(1e-2), data.prefetch(loader()), steps=7, run=tmp_path)
    assert_same(fit(data.prefetch(loader()), run=tmp_path).state, expected.state)


def test_lists_and_iterables_repeat_as_without_prefetching():
    batches = [host_batch(i) for i in range(5)]
    expected = fit(batches).state
    assert_same(fit(data.prefetch(batches)).state, expected)

    class Passes:
        def __iter__(self):
            return iter(batches)

    assert_same(fit(data.prefetch(Passes())).state, expected)


def test_errors_of_an_iterator_that_ends():
    with pytest.raises(ValueError, match="fit: data must last until step 4, got an end after 3 batches"):
        fit(data.prefetch(host_batch(i) for i in range(3)))


def test_steps_raise_their_own_error_and_recover():
    class Source:
        broken = True

        def __getitem__(self, step):
            if step == 2 and self.broken:
                raise OSError("batch 2")
            return {"label": np.full(2, step)}

    source = Source()
    ahead = untyped(data.prefetch(source, size=4))
    assert [int(ahead[i]["label"][0]) for i in (0, 1)] == [0, 1]
    with pytest.raises(OSError, match="batch 2"):
        ahead[2]
    source.broken = False
    assert [int(ahead[i]["label"][0]) for i in (2, 3)] == [2, 3]


def test_closing_does_not_wait_for_a_source_that_blocks():
    """As after Ctrl-C while a source waits for its disk: the thread sends nothing more once it returns."""
    release, before = threading.Event(), threads()

    def source():
        yield np.zeros(1)
        release.wait(60)
        yield np.ones(1)

    iterator = data.prefetch(source())
    next(iterator)
    closer = threading.Thread(target=iterator.close)
    closer.start()
    closer.join(4)
    assert not closer.is_alive()
    release.set()
    deadline = time.monotonic() + 10
    while threads() > before and time.monotonic() < deadline:
        time.sleep(0.01)
    assert threads() <= before
