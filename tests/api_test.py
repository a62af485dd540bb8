"""The style of the public names is a test, not a page; and no name or signature changes unnoticed.

``python -m tests.api_test`` writes the snapshot anew.
"""

import ast
import importlib
import inspect
import json
import pkgutil
import re
import subprocess
import sys
import types
from pathlib import Path

import flax.linen as nn
import pytest

import jaxcnn
from tests.support.public import ROOT, classes, functions, namespaces, public

SNAPSHOT = Path(__file__).parent / "api_snapshot.json"
UPDATE = "python -m tests.api_test"
SECTIONS = ["Convention", "Args", "Attributes", "Returns", "Raises", "Example", "Parity", "References"]
SECTION = re.compile(
    r"^(Conventions?|Args|Attributes|Returns|Yields|Raises|Examples?|Parity|References?|Source|Note):$"
)
SAME = {"Conventions": "Convention", "Examples": "Example", "Yields": "Returns", "Reference": "References"}
SAME |= {"Source": "References"}
CHECKS = {"check", "check_choice", "check_floating", "check_min_rank", "check_positive_shape"}
BARE_ARRAYS = re.compile(r"(?<!\[)\b(jax\.Array|jnp\.ndarray|np\.ndarray|Array)\b(?!\s*,\s*['\"])")

FUNCTIONS = functions()
CLASSES = classes()
LAYERS = classes("layers")


def address(item) -> str:
    return item.address


def sections(docstring: str) -> dict[str, str]:
    """Splits a docstring at its section titles."""
    found, title = {"": ""}, ""
    for line in docstring.splitlines():
        if match := SECTION.match(line):
            title = SAME.get(match[1], match[1])
            found[title] = ""
        else:
            found[title] += line + "\n"
    return found


def annotations(node: ast.FunctionDef) -> list[tuple[str, str]]:
    """Returns name and annotation of every parameter and of the result."""
    arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
    named = [argument for argument in arguments if argument is not None and argument.arg not in ("self", "cls")]
    pairs = [(argument.arg, ast.unparse(argument.annotation) if argument.annotation else "") for argument in named]
    return [*pairs, ("return", ast.unparse(node.returns) if node.returns else "")]


def fields(node: ast.ClassDef) -> dict[str, ast.AnnAssign]:
    """Returns the public annotated fields of a class by name."""
    found = {ast.unparse(item.target): item for item in node.body if isinstance(item, ast.AnnAssign)}
    public_ones = {name: item for name, item in found.items() if not name.startswith("_")}
    return {name: item for name, item in public_ones.items() if ast.unparse(item.annotation) != "KW_ONLY"}


def methods(node: ast.ClassDef) -> list[ast.FunctionDef]:
    """Returns the public methods of a class, with ``__call__`` and ``__init__``."""
    found = [item for item in node.body if isinstance(item, ast.FunctionDef)]
    return [item for item in found if not item.name.startswith("_") or item.name in ("__call__", "__init__")]


def signature(node) -> str:
    """Writes the signature as the source has it, independent of any library's version."""
    if isinstance(node, ast.FunctionDef):
        returns = f" -> {ast.unparse(node.returns)}" if node.returns else ""
        written = f"({ast.unparse(node.args)}){returns}"
        # The decorator of augmentations turns functions of chains into functions of examples.
        decorated = any(ast.unparse(decorator).startswith("augmentation(") for decorator in node.decorator_list)
        return re.sub(r"\bChain\b", "Example", written) if decorated else written
    return ast.unparse(node) if node is not None else ""


def snapshot() -> dict[str, str]:
    """Returns every public name with its signature; of a class also the fields and methods."""
    found = {}
    for item in public():
        if not isinstance(item.node, ast.ClassDef):
            found[item.address] = signature(item.node)
            continue
        found[item.address] = f"class({', '.join(ast.unparse(base) for base in item.node.bases)})"
        found |= {f"{item.address}.{name}": ast.unparse(field) for name, field in fields(item.node).items()}
        found |= {f"{item.address}.{method.name}": signature(method) for method in methods(item.node)}
    return dict(sorted(found.items()))


def test_snapshot():
    stored = json.loads(SNAPSHOT.read_text())
    current = snapshot()
    gone = sorted(set(stored) - set(current))
    new = sorted(set(current) - set(stored))
    changed = sorted(name for name in set(stored) & set(current) if stored[name] != current[name])
    assert not (gone or new or changed), (
        f"The public names or signatures changed.\n  gone: {gone}\n  new: {new}\n  changed: {changed}\n"
        f"If that is meant, say it in CHANGELOG.md and write the snapshot anew: {UPDATE}\n"
        "A public name goes only after one minor release of warnings."
    )


def test_name_exists_once():
    addresses = {}
    for item in public():
        assert item.value is not None, item.address
        if isinstance(item.value, type | types.FunctionType):
            addresses.setdefault((item.name, id(item.value)), []).append(item.address)
    twice = [found for found in addresses.values() if len(found) > 1]
    assert not twice, f"one public address per name, found {twice}"


@pytest.mark.parametrize("namespace", namespaces())
def test_namespace_is_documented_and_tested(namespace):
    module = importlib.import_module(f"jaxcnn.{namespace}")
    assert module.__doc__, f"jaxcnn.{namespace} has no docstring."
    tests = [*ROOT.glob(f"tests/{namespace}/**/*_test.py"), *ROOT.glob(f"tests/{namespace}_test.py")]
    assert tests, f"no tests/{namespace}/*_test.py"


@pytest.mark.errors  # the run-time checker binds a name of its own
@pytest.mark.parametrize("namespace", namespaces())
def test_namespace_offers_public_names_only(namespace):
    """Completion and star imports show no ``jnp``, no ``Any`` and none of the files of the folder."""
    expected = sorted(item.name for item in public(namespace))
    module = importlib.import_module(f"jaxcnn.{namespace}")
    for _, file, _ in pkgutil.walk_packages(getattr(module, "__path__", []), f"{module.__name__}."):
        if not file.endswith("__main__"):
            importlib.import_module(file)  # what is imported later must not show either
    assert [name for name in dir(module) if not name.startswith("__")] == expected
    bound: dict[str, object] = {}
    exec(f"from jaxcnn.{namespace} import *", bound)
    assert sorted(bound.keys() - {"__builtins__"}) == expected


@pytest.mark.errors  # the run-time checker binds a name of its own
def test_package_offers_namespaces_only():
    assert [name for name in dir(jaxcnn) if not name.startswith("__")] == namespaces()
    assert "__version__" in dir(jaxcnn)


@pytest.mark.nightly  # of another first import tests/layout_test.py holds it daily
@pytest.mark.parametrize(
    "first",
    [
        "import jaxcnn.zoo.records.weight_records",
        "import jaxcnn.zoo.download.downloads",
        "import jaxcnn.cli.app",
    ],
)
def test_functions_that_share_a_name_with_a_folder(first):
    """``zoo.records`` and ``zoo.download`` are the functions, whatever is imported first."""
    code = f"{first}\nfrom jaxcnn import zoo\nimport jaxcnn.zoo.records, jaxcnn.zoo.download\n"
    code += "print([type(f).__name__ for f in (zoo.records, zoo.download, zoo.read)])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, check=False)
    assert done.stdout.strip() == str(["function"] * 3), done.stderr


def check_options(item) -> None:
    arguments = item.node.args
    options = [argument.arg for argument in arguments.args[len(arguments.args) - len(arguments.defaults) :]]
    assert not arguments.defaults, f"{item.address}: {options} have defaults: put them behind a *."
    assert arguments.vararg is None or arguments.vararg.annotation is not None


def check_key(item) -> None:
    names = [name for name, _ in annotations(item.node)]
    assert not {"rng", "rngs", "prng", "prng_key"} & set(names), f"{item.address}: call it key."
    for name in ("key", "keys"):
        assert name not in names or names[0] == name, f"{item.address}: {name} stands first."


def check_docstring(item) -> None:
    found = sections(item.docstring)
    first = item.docstring.splitlines()[0] if item.docstring else ""
    assert first.endswith("."), f"{item.address}: the docstring opens with one sentence on one line."
    order = [title for title in found if title in SECTIONS]
    assert order == sorted(order, key=SECTIONS.index), f"{item.address}: sections stand in the order {SECTIONS}."
    parameters = [name for name, _ in annotations(item.node)][:-1]
    if parameters:
        assert "Args" in found, f"{item.address}: Args is missing."
        undocumented = [name for name in parameters if not re.search(rf"\b{name}\b.*:", found["Args"])]
        assert not undocumented, f"{item.address}: Args says nothing of {undocumented}."
    if item.node.returns is not None and ast.unparse(item.node.returns) != "None":
        assert "Returns" in found, f"{item.address}: Returns is missing."
    called = {getattr(call.func, "id", "") for call in ast.walk(item.node) if isinstance(call, ast.Call)}
    raises = any(isinstance(node, ast.Raise) for node in ast.walk(item.node))
    if raises or called & CHECKS:
        assert "Raises" in found, f"{item.address}: it checks its arguments, so it has Raises."
    assert ">>>" in found.get("Example", ""), f"{item.address}: Example with >>> is missing."


@pytest.mark.parametrize("item", FUNCTIONS, ids=address)
def test_function(item):
    """Options are keyword-only, keys stand first, the docstring says everything, shapes are annotated."""
    check_options(item)
    check_key(item)
    check_docstring(item)
    check_annotations(item.address, item.node)


def check_annotations(where: str, node: ast.FunctionDef) -> None:
    for name, annotation in annotations(node):
        assert annotation or (name == "return" and node.name == "__init__"), f"{where}: {name} has no annotation."
        assert not BARE_ARRAYS.search(annotation), f"{where}: {name}: {annotation} says no shape."


@pytest.mark.parametrize("item", CLASSES, ids=address)
def test_class(item):
    assert item.docstring.splitlines()[0].endswith("."), f"{item.address}: the docstring opens with one sentence."
    described = "".join(sections(item.docstring).get(title, "") for title in ("Args", "Attributes", ""))
    for name, field in fields(item.node).items():
        own = re.search(rf"\b{name}\b", described)
        assert own or documented(item.node, field), f"{item.address}: nothing is said of the field {name}."
    for method in methods(item.node):
        check_annotations(f"{item.address}.{method.name}", method)
        if not method.name.startswith("_"):
            assert ast.get_docstring(method), f"{item.address}.{method.name} has no docstring."


def documented(node: ast.ClassDef, field: ast.AnnAssign) -> bool:
    """Checks whether a string literal follows a field."""
    after = node.body[node.body.index(field) + 1 :]
    return bool(after) and isinstance(after[0], ast.Expr) and isinstance(after[0].value, ast.Constant)


@pytest.mark.parametrize("item", LAYERS, ids=address)
def test_layer(item):
    assert ">>>" in sections(item.docstring).get("Example", ""), f"{item.address}: Example with >>> is missing."
    call = next((method for method in methods(item.node) if method.name == "__call__"), None)
    if call is not None:
        assert not call.args.defaults, f"{item.address}.__call__: options are keyword-only."
        keyword_only = {argument.arg for argument in call.args.kwonlyargs}
        assert "train" in keyword_only, f"{item.address}.__call__: train is keyword-only, False unless said."
    parameters = inspect.signature(item.value).parameters.values()
    positional = [parameter.name for parameter in parameters if parameter.kind != parameter.KEYWORD_ONLY]
    positional = [name for name in positional if name not in ("parent", "name")]
    if issubclass(item.value, nn.Conv):  # takes Flax's fields in Flax's order
        return
    assert len(positional) <= 2, f"{item.address}: only the first one or two fields are positional, got {positional}."


@pytest.mark.parametrize("path", sorted((ROOT / "jaxcnn").glob("recipes/[!_]*.py")), ids=lambda path: path.stem)
def test_recipe_header(path):
    docstring = ast.get_docstring(ast.parse(path.read_text())) or ""
    for word in ("Paper", "Command", "Hardware", "Time", "Result"):
        assert re.search(rf"^{word}s?:", docstring, re.MULTILINE), f"{path.name}: the header lacks '{word}:'."


if __name__ == "__main__":
    SNAPSHOT.write_text(json.dumps(snapshot(), indent=1) + "\n")
    sys.stdout.write(f"wrote {SNAPSHOT}\n")
