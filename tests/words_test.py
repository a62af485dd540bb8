"""What can be counted about names, docstrings and types of the package."""

import ast
import re
from collections import Counter, defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

FILES = sorted((ROOT / "jaxcnn").rglob("*.py"))
TREES = {path: ast.parse(path.read_text()) for path in FILES}
Function = ast.FunctionDef | ast.AsyncFunctionDef
Documented = Function | ast.ClassDef | ast.Module

NOT_OPENINGS = ("Gives", "Says", "Tells")  # "Returns", "Checks", "Computes" and the like say what happens

ONE_INTERFACE = {
    # Functions that share a name because they implement one interface, each in a module of its own.
    "forward": "implementations of depthwise convolution",
    "to_input": "implementations of convolution: the gradient to the input",
    "to_kernel": "implementations of convolution: the gradient to the kernel",
    "image_gradient": "implementations of sampling",
    "weight_gradient": "implementations of sampling",
    "supports": "compiled implementations: whether they take these shapes and dtypes",
}

MOST_ANY = {"jaxcnn": 0.10, "jaxcnn/ops": 0.15}  # of the parameters; of ops the private files
MOST_SUPPRESSIONS = 8
SUPPRESSION = re.compile(r"#\s*(?:type|pyright)\s*:\s*ignore(?:\[[^\]]*\])?(?P<rest>.*)")


def place(path: Path, node: ast.AST) -> str:
    return f"{path.relative_to(ROOT)}:{getattr(node, 'lineno', 1)}"


def documented() -> Iterator[tuple[Path, Documented, str]]:
    """Yields everything that has a docstring, and the docstring."""
    for path, tree in TREES.items():
        for node in ast.walk(tree):
            if isinstance(node, Documented) and (docstring := ast.get_docstring(node)):
                yield path, node, docstring


def test_no_docstring_opens_with_a_word_that_says_nothing():
    found = [place(path, node) for path, node, docstring in documented() if docstring.split()[0] in NOT_OPENINGS]
    assert not found, f"these docstrings open with one of {NOT_OPENINGS}: {found}"


def test_docstrings_of_functions_open_with_a_verb():
    """In the third person, as "Computes" and "Reads": a word in -s; properties are nouns and may open with any word."""
    found = []
    for path, node, docstring in documented():
        if not isinstance(node, Function) or any("property" in ast.unparse(d) for d in node.decorator_list):
            continue
        if not re.fullmatch(r"[A-Z][a-z]+s", docstring.split()[0].rstrip(",.:;")):
            found.append(f"{place(path, node)} {node.name}: {docstring.split()[0]}")
    assert not found, "these docstrings open with no verb:\n" + "\n".join(found)


def test_names_mean_one_thing():
    """No two classes or functions at module level share a name, except underscored ones and those of one interface."""
    places = defaultdict(list)
    for path, tree in TREES.items():
        for node in tree.body:
            if isinstance(node, Function | ast.ClassDef) and not node.name.startswith("_"):
                places[node.name].append(place(path, node))
    shared = {name: found for name, found in places.items() if len(found) > 1 and name not in ONE_INTERFACE}
    assert not shared, f"one name, one meaning: {shared}"


def annotations(tree: ast.Module) -> Iterator[str]:
    """Yields the annotation of every parameter, empty where there is none."""
    for node in ast.walk(tree):
        if isinstance(node, Function):
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            arguments += [argument for argument in (node.args.vararg, node.args.kwarg) if argument is not None]
            for argument in arguments:
                if argument.arg not in ("self", "cls"):
                    yield ast.unparse(argument.annotation) if argument.annotation is not None else ""


@pytest.mark.parametrize("folder", MOST_ANY)
def test_parameters_are_typed(folder):
    """``Any`` is for what really can be anything."""
    inside = {
        path.relative_to(ROOT / folder): tree for path, tree in TREES.items() if path.is_relative_to(ROOT / folder)
    }
    if folder != "jaxcnn":
        inside = {path: tree for path, tree in inside.items() if any(re.match("_(?!_)", part) for part in path.parts)}
    counts = Counter(annotation == "Any" for tree in inside.values() for annotation in annotations(tree))
    share = counts[True] / counts.total()
    assert share <= MOST_ANY[folder], f"{folder}: {share:.1%} of the parameters are annotated Any."


def test_suppressions_are_few_and_have_reasons():
    lines = [
        (f"{path.relative_to(ROOT)}:{number}", match)
        for folder in ("jaxcnn", "benchmarks", "tests", "native")
        for path in sorted((ROOT / folder).rglob("*.py"))
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if path != Path(__file__) and (match := SUPPRESSION.search(line))
    ]
    assert len(lines) <= MOST_SUPPRESSIONS, f"{len(lines)} suppressions: {[where for where, _ in lines]}"
    bare = [where for where, match in lines if not re.search(r"[a-z]{3}", match["rest"].replace("noqa", ""))]
    assert not bare, f"say why, behind the suppression: {bare}"
