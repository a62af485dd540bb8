"""What is timed of a function of two arrays: the forward pass, or that and gradients against a fixed cotangent."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import _harness


def with_jax(function: Callable[..., Any], data: Sequence[Any], wanted: Sequence[int]) -> _harness.Run:
    """Compiles a function of all arrays but the last, with the gradients asked for, on JAX's default device.

    Args:
        function: Maps the operands to one array.
        data: The operands, then the cotangent.
        wanted: Positions of the operands whose gradients are wanted; none: the forward pass alone.

    Returns:
        A function that runs it; its ``temporary_bytes`` is what the program allocates besides results.
    """
    arrays = [jnp.asarray(array) for array in data]

    def work(*arrays: Any) -> Any:
        *given, cotangent = arrays

        def output(*variables: Any) -> Any:
            arguments = list(given)
            for position, variable in zip(wanted, variables, strict=True):
                arguments[position] = variable
            return function(*arguments)

        if not wanted:
            return [output()]
        value, pullback = jax.vjp(output, *(given[position] for position in wanted))
        return [value, *pullback(cotangent)]

    compiled = jax.jit(work).lower(*arrays).compile()

    def run() -> Any:
        return jax.block_until_ready(compiled(*arrays))

    memory = compiled.memory_analysis()
    run.temporary_bytes = None if memory is None else memory.temp_size_in_bytes  # pyright: ignore[reportFunctionMemberAccess]
    return run


def torch_device() -> tuple[Any, str]:
    """Gives PyTorch and the kind of device that JAX runs on, or says why a contender is left out."""
    torch = _harness.optional("torch")
    if torch is None:
        raise _harness.Skipped("PyTorch is not installed")
    gpu = jax.default_backend() == "gpu"
    if gpu and not torch.cuda.is_available():
        raise _harness.Skipped("this PyTorch sees no GPU")
    return torch, "cuda" if gpu else "cpu"
