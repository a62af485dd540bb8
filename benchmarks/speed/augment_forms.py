"""Ways to compute augmentations on CPU: policies in a batch or one by one, chains in parts or whole, stored or fused.

Command: ``python -m benchmarks.speed.augment_forms``, with ``--quick`` to see that it runs. "together" is ``vmap``
over the examples, where a choice between branches computes all of them; "in turn" is ``lax.map``, which computes one.
"in parts" is a chain as it is, a large batch being processed a few examples at a time; "whole" is the batch at once,
and "fused" as XLA's CPU backend fuses it if nothing between sampling and color changes is stored.
"""

import contextlib
import functools
import itertools
from collections.abc import Iterator, Sequence
from typing import Any
from unittest import mock

import jax
import jax.numpy as jnp
import tyro

from benchmarks import _harness
from jaxcnn import augment
from jaxcnn.augment import _chain, _examples, batching

SHAPES = [(128, 32, 32, 3), (32, 224, 224, 3)]
QUICK = [(4, 12, 12, 3)]
POLICIES = {"RandAugment": augment.rand_augment, "TrivialAugment": augment.trivial_augment}
STEPS = [
    augment.random_flip_left_right,
    functools.partial(augment.random_affine, degrees=15.0, translate=0.1, scale=(0.9, 1.1)),
    functools.partial(augment.random_color_jitter, brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1),
    augment.random_gaussian_noise,
]
CHAINS = {"affine and color jitter": augment.sequence(STEPS[:3]), "the same and noise": augment.sequence(STEPS)}


def together(function: Any, key: Any, images: Any) -> Any:
    """Changes all examples by one program of all branches."""
    keys = jax.vmap(lambda i: jax.random.fold_in(key, i))(jnp.arange(len(images)))
    return jax.vmap(function)(keys, images)


def in_turn(function: Any, key: Any, images: Any) -> Any:
    """Changes one example after another."""
    return jax.lax.map(lambda x: function(jax.random.fold_in(key, x[0]), x[1]), (jnp.arange(len(images)), images))


@contextlib.contextmanager
def unstored() -> Iterator[None]:
    """Lets the compiler decide what is stored."""

    def plain(function: Any, *args: Any) -> Any:
        return function(*args)

    with contextlib.ExitStack() as stack:
        for module, name, form in (
            (_chain, "materialize", plain),
            (_chain, "materialize_planes", lambda x: x),
            (_examples, "materialize", plain),
            (batching, "materialize", plain),
        ):
            stack.enter_context(mock.patch.object(module, name, form))
        yield


@contextlib.contextmanager
def whole() -> Iterator[None]:
    """Processes large batches at once."""
    with mock.patch.object(batching, "_LARGE", 2**40):
        yield


def build(change: Any, shape: tuple[int, ...], dtype: str = "float32", around: Any = contextlib.nullcontext) -> Any:
    """Compiles a change of a batch."""
    images = jax.random.uniform(jax.random.key(0), shape)
    images = images if dtype == "float32" else (images * 255).astype(dtype)
    with around():
        # A new function: nothing that was traced outside of the context is reused.
        compiled = jax.jit(lambda key, images: change(key, images)).lower(jax.random.key(1), images).compile()
    return lambda: jax.block_until_ready(compiled(jax.random.key(1), images))


def cases(shapes: Sequence[tuple[int, ...]]) -> list[_harness.Case]:
    """Lists every shape with every policy and chain."""
    found = []
    for shape in shapes:
        size = "x".join(map(str, shape))
        for name, policy in POLICIES.items():
            forms = {"in turn": functools.partial(in_turn, policy), "together": functools.partial(together, policy)}
            contenders = [
                _harness.Contender(title, functools.partial(build, form, shape), lambda x: [x])
                for title, form in forms.items()
            ]
            found.append(_harness.Case(f"{size} {name}", {"shape": list(shape)}, contenders, 1e-4))
        contexts = {"in parts": contextlib.nullcontext, "whole": whole, "in parts, fused": unstored}
        for (name, chain), dtype in itertools.product(CHAINS.items(), ("float32", "uint8")):
            change = functools.partial(build, augment.batched(chain), shape, dtype)
            contenders = [
                _harness.Contender(title, functools.partial(change, around), lambda x: [x])
                for title, around in contexts.items()
            ]
            parameters = {"shape": list(shape), "dtype": dtype}
            found.append(
                _harness.Case(f"{size} {dtype} {name}", parameters, contenders, 1 if dtype == "uint8" else 1e-4)
            )
    return found


def main(options: _harness.Options) -> None:
    """Runs the benchmark."""
    _harness.limit_threads(options.threads)
    _harness.run("augment_forms", cases(QUICK if options.quick else SHAPES), options)


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
