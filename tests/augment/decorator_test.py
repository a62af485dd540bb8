"""The decorator of augmentations: signatures as users see them, and what is recognized as an augmentation."""

import functools
import gc
import inspect

import jax
import pytest

from jaxcnn import augment
from jaxcnn.augment import _decorator
from jaxcnn.augment._examples import Example
from tests.augment.functions import ALL


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


def test_sequences_that_are_dropped_are_freed():
    count = len(_decorator._STEPS)
    chain = augment.sequence([augment.random_hue])
    assert len(_decorator._STEPS) == count + 1
    del chain
    gc.collect()
    assert len(_decorator._STEPS) == count
