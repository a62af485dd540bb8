"""What is timed of a function of arrays: the forward pass, or that and the gradients for a fixed cotangent."""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from benchmarks import _harness


def with_jax(function: Callable[..., Any], data: Sequence[Any], wanted: Sequence[int]) -> _harness.CompiledRun:
    """Compiles a function of all arrays but the last, with the requested gradients, on JAX's default device.

    Args:
        function: Maps the operands to one array.
        data: The operands, then the cotangent.
        wanted: Positions of the operands whose gradients are computed; if empty, only the forward pass.

    Returns:
        The program and the memory that it takes.
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
    return _harness.CompiledRun(run, None if memory is None else memory.temp_size_in_bytes)


def torch_device() -> tuple[Any, str]:
    """Returns PyTorch and the kind of device that JAX runs on; raises ``Skipped`` if PyTorch cannot use it."""
    torch = _harness.optional("torch")
    if torch is None:
        raise _harness.Skipped("PyTorch is not installed")
    gpu = jax.default_backend() == "gpu"
    if gpu and not torch.cuda.is_available():
        raise _harness.Skipped("this PyTorch sees no GPU")
    return torch, "cuda" if gpu else "cpu"
