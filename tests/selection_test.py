"""Which tests a run selects: none that are nightly by default, and error tests or the others, each once."""

import tomllib

import pytest

from tests.support.paths import ROOT

SAMPLE = """
import pytest
from hypothesis import given, strategies

from tests.support.selection import daily

def test_value(): ...
def test_error_of_a_value(): ...
@pytest.mark.errors
def test_refusal(): ...
@pytest.mark.parametrize("name", daily(["a", "b", "c"], ["b"]))
def test_names(name): ...
@pytest.mark.nightly
def test_error_in_every_form(): ...
@given(strategies.integers())
def test_generated(number): ...
def test_fuzz(): ...
"""
LISTED = ["test_value", "test_error_of_a_value", "test_refusal", "test_names[b]", "test_generated", "test_fuzz"]
EVERY = set(LISTED)
ERRORS = {"test_error_of_a_value", "test_refusal", "test_fuzz"}
NIGHTLY = {"test_names[a]", "test_names[c]", "test_error_in_every_form", "test_generated", "test_fuzz"}


@pytest.fixture
def selected(pytester, monkeypatch):
    """A function that returns the names that a run with the project's own options selects."""
    options = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["pytest"]["ini_options"]
    names = ("addopts", "markers", "python_files")
    lines = [f"{name} = {options[name]!r}" for name in names]
    pytester.makepyprojecttoml("\n".join(["[tool.pytest.ini_options]", *lines]))
    pytester.makepyfile(sample_test=SAMPLE)
    monkeypatch.setenv("JAXCNN_FUZZ_TIMES", "1")  # which a nightly run would set for all later tests

    def run(*arguments):
        result = pytester.inline_run("-n=0", "--collect-only", "-p", "tests.support.selection", *arguments)
        return {item.name for call in result.getcalls("pytest_collection_finish") for item in call.session.items}

    return run


def test_nightly_tests_are_left_out_by_default(selected):
    assert selected() == EVERY


def test_nightly_runs_them_and_generated_cases(selected):
    assert selected("-m", "nightly") == NIGHTLY


def test_all_tests_of_the_default_run_are_listed_whatever_is_selected(selected, tmp_path):
    selected("-m", "errors and not nightly", "--list-tests", str(tmp_path / "listed.txt"))
    assert (tmp_path / "listed.txt").read_text().splitlines() == [f"sample_test.py::{name}" for name in LISTED]


def test_the_two_runs_of_all_checks_divide_the_suite(selected):
    assert selected("-m", "errors and not nightly") == ERRORS
    assert selected("-m", "not errors and not nightly") == EVERY - ERRORS


def test_all_checks_use_these_selections():
    text = (ROOT / ".ci" / "run").read_text()
    assert text.count('-m "errors and not nightly"') == 1
    assert text.count('-m "not errors and not nightly"') == 1
