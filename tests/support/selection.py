"""A pytest plugin that sorts tests: error tests, and those of a nightly run.

``-m errors`` and ``-m "not errors"`` divide the suite: the first part cannot run with annotations checked at run time,
because the checker would raise before the function's own error does. Damaged files belong to it too: most are refused,
and the checker makes their readers, which call functions for every byte or word, thirty times as slow.
``-m nightly`` runs what the default run leaves out, and tests of generated cases a second time with ``NIGHTLY_TIMES``
as many cases. ``--list-tests FILE`` writes the names of all tests of the default run, whatever ``-m`` selects.
"""

import os
import re
from collections.abc import Container, Iterable
from pathlib import Path
from typing import Any

import pytest

NIGHTLY_TIMES = 10
"""Generated cases in a nightly run, relative to the default run."""


def daily(values: Iterable[Any], chosen: Container[Any]) -> list[Any]:
    """Returns parameters of a test, marked ``nightly`` unless they are among the chosen ones."""
    return [value if value in chosen else pytest.param(value, marks=pytest.mark.nightly) for value in values]


def daily_cases(values: Iterable[tuple[Any, ...]], chosen: Container[tuple[Any, ...]]) -> list[Any]:
    """Does the same for a test of several parameters, of which each value is a tuple."""
    return [value if value in chosen else pytest.param(*value, marks=pytest.mark.nightly) for value in values]


def times(cases: int) -> int:
    """Returns a number of cases to generate, multiplied by what the environment asks for."""
    return round(cases * float(os.environ.get("JAXCNN_FUZZ_TIMES", 1)))


def is_nightly(config: pytest.Config) -> bool:
    """Returns whether the run selects tests that are marked ``nightly``."""
    return bool(re.search(r"(?<!not )\bnightly\b", str(config.getoption("markexpr"))))


def pytest_addoption(parser: pytest.Parser) -> None:
    """Adds the option that names a file for the list of all tests of the default run."""
    parser.addoption("--list-tests", metavar="FILE", help="write the names of all tests that are not nightly")


def pytest_configure(config: pytest.Config) -> None:
    """Sets how many cases are generated, before test modules are imported."""
    if is_nightly(config):
        os.environ.setdefault("JAXCNN_FUZZ_TIMES", str(NIGHTLY_TIMES))


@pytest.hookimpl(tryfirst=True)  # pytest selects by marks in the same hook
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Marks error tests and damaged files by their names, and in a nightly run those of generated cases."""
    nightly = is_nightly(config)
    for item in items:
        if not isinstance(item, pytest.Function):
            continue
        if "error" in item.nodeid.lower() or is_fuzzed(item):
            item.add_marker("errors")
        if nightly and is_generated(item):
            item.add_marker("nightly")
    if path := config.getoption("list_tests"):
        names = [item.nodeid for item in items if item.get_closest_marker("nightly") is None]
        Path(path).write_text("".join(f"{name}\n" for name in names))


def is_fuzzed(item: pytest.Function) -> bool:
    """Returns whether a test reads damaged files."""
    return any(word in item.originalname for word in ("fuzz", "damaged"))


def is_generated(item: pytest.Function) -> bool:
    """Returns whether a test draws its cases."""
    return is_fuzzed(item) or getattr(item.obj, "is_hypothesis_test", False)
