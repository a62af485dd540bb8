"""The decorator of augmentations: signatures as users see them, and what is recognized as an augmentation."""

import functools
import gc
import inspect
import pickle
import weakref

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcnn import augment
from jaxcnn.augment import _decorator
from jaxcnn.augment._examples import Example
from tests.augment.functions import ALL, IMAGE, KEY, SIZE, P
from tests.support.compilations import counted_compilations


@pytest.mark.parametrize("name", ALL)
def test_signatures_are_those_of_functions_of_examples(name):
    signature = inspect.signature(getattr(augment, name))
    key, image, *options = signature.parameters.values()
    assert key.name == "key" and image.name == "image"
    assert image.annotation == signature.return_annotation == Example
    assert all(option.kind is inspect.Parameter.KEYWORD_ONLY for option in options)
    assert getattr(augment, name).__annotations__["image"] == Example


def test_functions_are_recognized_by_identity():
    hue = augment.random_hue
    wrapped = functools.wraps(hue)(lambda key, image: image)
    for ours in (hue, functools.partial(hue, hue=0.2), functools.partial(functools.partial(hue, hue=0.2))):
        assert _decorator.takes_chain(ours)
    for other in (wrapped, jax.jit(hue), inspect.unwrap(hue), len, functools.partial(wrapped)):
        assert not _decorator.takes_chain(other)
    assert _decorator.is_geometric(augment.random_crop) and not _decorator.is_geometric(hue)
    policy = augment.trivial_augment
    for several in (policy, jax.jit(policy), functools.partial(jax.jit(policy)), augment.sequence([hue, policy])):
        assert _decorator.has_branches(several)
    assert not _decorator.has_branches(hue) and not _decorator.has_branches(wrapped)


def calls_compile(calls):
    """Returns how many programs each of several calls compiles."""
    counts = []
    for call in calls:
        with counted_compilations() as compiled:
            jax.block_until_ready(call())
        counts.append(len(compiled))
    return counts


class TestPrograms:
    """Without ``jax.jit`` a call is compiled once, however the function is put together."""

    @pytest.mark.nightly
    def test_policies_are_compiled_once(self):
        def call(number):
            f = augment.sequence([augment.random_apply(augment.rand_augment, p=0.5), P(augment.random_hue, hue=0.2)])
            return f(jax.random.fold_in(KEY, number), IMAGE)

        assert calls_compile(functools.partial(call, i) for i in (1, 1, 2, 3))[1:] == [0, 0, 0]

    def test_options_are_compared_by_value_and_arrays_are_arguments(self):
        rotations = [
            P(augment.random_rotation, degrees=30.0, padding_mode="fill", fill_value=fill)
            for fill in ([0.1, 0.2, 0.3], [0.1, 0.2, 0.3], np.array([0.1, 0.2, 0.3]), np.array([0.1, 0.2, 0.3]))
        ]
        first, second, third, fourth = calls_compile(lambda f=f: f(KEY, IMAGE) for f in rotations)
        assert first > 0 and third > 0 and second == fourth == 0
        probabilities = [lambda p=p: augment.random_invert(KEY, IMAGE, p=jnp.float32(p)) for p in (0.5, 0.5, 0.0)]
        assert calls_compile(probabilities)[1:] == [0, 0]
        np.testing.assert_array_equal(probabilities[2](), IMAGE)

    def test_inverses_and_batches_are_compiled_once(self):
        f = augment.one_of([augment.random_flip_left_right, augment.random_tps])
        back = [lambda: augment.inverse(f)(KEY, IMAGE)] * 2
        batches = [lambda i=i: augment.batched(f)(KEY, IMAGE[None], start=i) for i in range(3)]
        assert calls_compile(back)[1] == 0 and calls_compile(batches)[1:] == [0, 0]

    def test_derivatives_and_maps_are_compiled_once(self):
        f = P(augment.random_resized_crop, shape=(6, 6))
        keys = jax.random.split(KEY, 2)
        slopes = [lambda: jax.grad(lambda image: f(KEY, image).sum())(IMAGE)] * 3
        assert calls_compile(slopes)[2] == 0
        assert calls_compile([lambda: jax.vmap(f)(keys, jnp.stack([IMAGE] * 2))] * 3)[2] == 0

    def test_programs_keep_no_arrays(self):
        image, p = jnp.ones((5, 5, 3)), jnp.float32(0.25)
        alive = weakref.ref(image), weakref.ref(p)
        augment.random_invert(KEY, image, p=p).block_until_ready()
        del image, p
        gc.collect()
        assert alive[0]() is None and alive[1]() is None

    def test_values_of_another_program_do_not_stay_in_one(self):
        """A function of a user may read a traced value that its own arguments do not hold."""
        shared = {}
        f = augment.random_apply(lambda key, image: image * shared["factor"], p=1.0)

        def scale(factor):
            shared["factor"] = factor
            return f(KEY, IMAGE)

        for factor in (2.0, 3.0):
            np.testing.assert_allclose(jax.jit(lambda factor: scale(factor))(factor), IMAGE * factor, rtol=1e-6)

    def test_functions_of_others_in_a_sequence_get_values(self):
        f = augment.sequence([augment.random_invert, lambda key, image: np.asarray(image)[::-1], augment.random_hue])
        traced = augment.sequence([augment.random_invert, lambda key, image: image[::-1], augment.random_hue])
        np.testing.assert_allclose(f(KEY, IMAGE), jax.jit(traced)(KEY, IMAGE), atol=1e-6)

    def test_what_is_not_changed_is_returned_as_it_came(self):
        example = {"image": np.asarray(IMAGE), "label": 3, "file": "a.png", "mask": np.zeros((SIZE, SIZE), np.int64)}
        result = augment.random_hue(KEY, example)
        assert all(result[name] is example[name] for name in ("label", "file", "mask"))
        assert augment.random_color_jitter(KEY, example)["image"] is example["image"]


class TestCompositions:
    @pytest.mark.parametrize(
        ("make", "text"),
        [
            (lambda f: augment.sequence([f, augment.random_invert]), "sequence([{}, random_invert])"),
            (lambda f: augment.random_apply(f, p=0.3), "random_apply({}, p=0.3)"),
            (lambda f: augment.one_of([f, f]), "one_of([{0}, {0}])"),
            (lambda f: augment.one_of([f, f], weights=[1, 2.5]), "one_of([{0}, {0}], weights=(1.0, 2.5))"),
            (augment.inverse, "inverse({})"),
            (augment.batched, "batched({})"),
        ],
    )
    def test_can_be_read_and_pickled(self, make, text):
        f = make(P(augment.random_flip_left_right, p=0.5))
        assert repr(f) == text.format("partial(random_flip_left_right, p=0.5)")
        again, image = pickle.loads(pickle.dumps(f)), IMAGE[None] if text.startswith("batched") else IMAGE
        assert repr(again) == repr(f)
        np.testing.assert_array_equal(again(KEY, image), f(KEY, image))


@pytest.mark.errors
def test_arrays_among_the_options_are_checked_outside_of_jit():
    for _ in range(2):  # also when the program is found
        with pytest.raises(ValueError, match=r"random_invert: p must be in \[0, 1\]"):
            augment.random_invert(KEY, IMAGE, p=jnp.float32(1.5))
    assert augment.random_invert(KEY, IMAGE, p=jnp.float32(1)).shape == IMAGE.shape
