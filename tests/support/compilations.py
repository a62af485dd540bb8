"""Counts what JAX compiles."""

import contextlib
from collections.abc import Iterator

import jax

_OPEN: list[list[str]] = []


def _listen(event: str, duration_secs: float, **kwargs: str | int) -> None:
    del duration_secs
    if event == "/jax/core/compile/backend_compile_duration":
        for found in _OPEN:
            found.append(str(kwargs.get("fun_name", "")))


jax.monitoring.register_event_duration_secs_listener(_listen)


@contextlib.contextmanager
def counted_compilations() -> Iterator[list[str]]:
    """Lists the programs that are compiled, or read from a cache on disk, in its context."""
    found: list[str] = []
    _OPEN.append(found)
    try:
        yield found
    finally:
        _OPEN.remove(found)
