"""Imports go down only, files are one noun each, and ``import jaxcnn`` is light."""

import ast
import functools
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.support.paths import ROOT

PACKAGE = ROOT / "jaxcnn"
FILES = sorted(PACKAGE.rglob("*.py"))

# A module may import what stands on an earlier line, and its own room.
ORDER = """
_namespace
_typing
_check _suggest
_representation
ops
losses metrics initializers
layers augment
models graphs
zoo data
train
transfer
report
recipes
cli
"""

# The same inside the folders that have rooms of their own. A file that no line names stands on the line of "*".
ROOMS = {
    "ops": """
_batching _materialize _native _normal _padding
_images _pool_windows
_primitives
_convolution _sampling
*
""",
    "zoo": """
checkpoint
containers
formats
records
graphs mappings
download
*
""",
}


def ranks(order: str) -> dict[str, int]:
    return {name: rank for rank, line in enumerate(order.split("\n")) for name in line.split()}


RANK = ranks(ORDER)
ROOM_RANK = {name: ranks(order) for name, order in ROOMS.items()}

HEAVY = ("PIL", "cramjam", "grain", "h5py", "keras", "matplotlib", "orbax", "pooch", "safetensors", "sklearn")
HEAVY += ("tensorboardX", "tensorflow", "tensorflow_datasets", "torch")
FOREIGN = ("caffe", "keras", "tensorflow", "tf_keras", "torch", "torchvision")


def module_name(path: Path) -> str:
    """Returns the dotted name of a file of the package."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for path in FILES}


@functools.cache
def parse(path: Path) -> ast.Module:
    """Parses a file, which does not change while tests run."""
    return ast.parse(path.read_text())


@functools.cache
def imports(path: Path) -> list[tuple[int, str]]:
    """Returns line and dotted name of everything a file imports, also inside functions."""
    found = []
    for node in ast.walk(parse(path)):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}:{node.lineno}: relative import; write the full name."
            found += [(node.lineno, f"{node.module}.{alias.name}") for alias in node.names]
    return found


def target(name: str) -> str:
    """Returns the longest module of the package that a dotted name starts with."""
    while name not in MODULES and "." in name:
        name = name.rpartition(".")[0]
    return name


def namespace(module: str) -> str:
    """Returns the first name below the package: ``jaxcnn.ops.grids`` -> ``ops``."""
    return module.split(".")[1] if "." in module else ""


def room(module: str) -> str:
    """Returns the second name below the package: ``jaxcnn.zoo.formats.caffe`` -> ``formats``."""
    return module.split(".")[2] if module.count(".") > 1 else ""


def test_imports_go_down():
    wrong = []
    for module, path in MODULES.items():
        here = namespace(module)
        assert here == "" or here in RANK, f"{module}: give the namespace a line in ORDER of {__file__}."
        for line, name in imports(path):
            if name.split(".")[0] != "jaxcnn" or here == "":
                continue
            there = namespace(target(name))
            if there == "":
                if name not in ("jaxcnn", "jaxcnn.__version__"):
                    wrong.append(f"{path}:{line}: import the namespace, not the package.")
            elif there != here and RANK[there] >= RANK[here]:
                wrong.append(f"{path}:{line}: {here} must not import {there}.")
    assert not wrong, "\n".join(wrong)


def test_imports_go_down_inside():
    """The rooms of a folder are in order too, so that a parser never comes to depend on a framework's format."""
    wrong = []
    for module, path in MODULES.items():
        if namespace(module) not in ROOMS:
            continue
        order = ROOM_RANK[namespace(module)]
        here = room(module)
        for line, name in imports(path):
            there = room(target(name))
            if here == "" or there == "" or namespace(name) != namespace(module):
                continue  # the namespace itself collects what is public
            low, high = (order.get(place, order["*"]) for place in (there, here))
            if not (there == here or low < high or low == high == order["*"]):
                wrong.append(f"{path}:{line}: {here} must not import {there}.")
    assert not wrong, "\n".join(wrong)


def test_no_import_cycle():
    graph = {
        module: {target(name) for _, name in imports(path) if name.startswith("jaxcnn")} - {module}
        for module, path in MODULES.items()
    }
    graph["jaxcnn"] = set()  # the package imports its namespaces; they ask it for the version only
    for module in graph:
        # ``from jaxcnn.ops import grids`` names the namespace only to reach a file in it.
        graph[module] = {name for name in graph[module] if not module.startswith(name + ".")}
    done: set[str] = set()

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert module not in trail, f"import cycle: {' -> '.join((*trail, module))}"
        if module not in done:
            for other in sorted(graph[module]):
                visit(other, (*trail, module))
            done.add(module)

    for module in graph:
        visit(module, ())


def test_file_is_one_noun():
    wrong = []
    for path in FILES:
        text = path.read_text()
        lines = len(text.splitlines())
        if lines > 400:
            wrong.append(f"{path} has {lines} lines; a file is one noun of at most 400.")
        if path.name in ("utils.py", "util.py", "helpers.py", "common.py", "misc.py"):
            wrong.append(f"{path} names no thing.")
        if "from __future__ import annotations" in text:
            wrong.append(f"{path}: it defeats the run-time shape checks.")
        wrong += [f"{path}:{line}: star import." for line, name in imports(path) if name.endswith(".*")]
    assert not wrong, "\n".join(wrong)


def test_no_foreign_framework():
    wrong = []
    for path in FILES:
        for line, name in imports(path):
            if name.split(".")[0] in FOREIGN:
                wrong.append(f"{path}:{line}: the package must not import {name}.")
            if "_src" in name.split("."):
                wrong.append(f"{path}:{line}: {name} is private to its library.")
    assert not wrong, "\n".join(wrong)


def test_no_assert_on_input():
    wrong = []
    for path in FILES:
        asserts = [node for node in ast.walk(parse(path)) if isinstance(node, ast.Assert)]
        # ``assert x is not None`` only tells the type checker what the code guarantees.
        lines = [node.lineno for node in asserts if not ast.unparse(node.test).endswith(" is not None")]
        if lines:
            wrong.append(f"{path}: lines {lines} assert; raise a ValueError through jaxcnn._check.")
    assert not wrong, "\n".join(wrong)


def test_package_only_imports_namespaces():
    tree = ast.parse((PACKAGE / "__init__.py").read_text())
    defined = [node for node in tree.body if isinstance(node, ast.FunctionDef | ast.ClassDef)]
    assert not defined, "jaxcnn/__init__.py holds the version and the namespaces, nothing else."


IMPORTS = f"""
from jaxcnn.zoo.download import transfers; from jaxcnn.zoo.records import label_sets
import jaxcnn.zoo.formats.keras.hdf5_file, jaxcnn.zoo.formats.keras.keras_archive
import sys, jax
from jaxcnn import zoo
print([name for name in {HEAVY} if name in sys.modules])
print([type(f).__name__ for f in (zoo.records, zoo.download, zoo.read)])
jax.config.update('jax_num_cpu_devices', 3)
print(jax.device_count())
"""


def test_import_is_light_and_starts_no_backend():
    """Functions that share a name with a folder are the functions, whatever is imported first."""
    environment = {**os.environ, "XLA_FLAGS": "", "JAX_PLATFORMS": "cpu"}
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS], capture_output=True, text=True, cwd=ROOT, check=False, env=environment
    )
    assert done.returncode == 0, done.stderr
    heavy, kinds, devices = done.stdout.splitlines()
    assert heavy == "[]", f"import jaxcnn also imports {heavy}"
    assert kinds == str(["function"] * 3)
    # The number of devices can only be set while no backend has started.
    assert devices == "3", "import jaxcnn computes something"


# Requirements of dependencies that the package itself does not import.
NOT_IMPORTED = {
    "flatbuffers": "jax.export stores programs with it, but jax does not declare it",
    "importlib-resources": "tensorflow-datasets imports it without declaring it",
}
IMPORT_NAMES = {"orbax-checkpoint": "orbax", "pillow": "PIL", "scikit-learn": "sklearn"}


def distributions(requirements: list[str]) -> dict[str, str]:
    """Returns the import name of every required distribution."""
    names = [re.split(r"[^\w-]", requirement, maxsplit=1)[0] for requirement in requirements]
    return {name: IMPORT_NAMES.get(name, name.replace("-", "_")) for name in names}


def test_dependencies_are_imported_and_imports_are_dependencies():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    required = distributions(project["dependencies"])
    imported = {name.split(".")[0] for path in FILES for _, name in imports(path)}
    unused = sorted(name for name, module in required.items() if module not in imported and name not in NOT_IMPORTED)
    assert not unused, f"{unused}: no file imports them; make them extras or say in NOT_IMPORTED who needs them."
    optional = distributions([r for extra in project.get("optional-dependencies", {}).values() for r in extra])
    known = {"_typeshed", "jaxcnn", "jaxcnn_native", *required.values(), *optional.values(), *sys.stdlib_module_names}
    assert imported <= known, f"{sorted(imported - known)} are imported, but pyproject.toml does not declare them."


def test_no_stray_file_in_root():
    allowed = {
        "pyproject.toml",
        "README.md",
        "CHANGELOG.md",
        "CONTRIBUTING.md",
        "LICENSE",
        "conftest.py",
        "CITATION.cff",
    }
    found = {path.name for path in ROOT.iterdir() if path.is_file() and not path.name.startswith(".")}
    assert found <= allowed, f"stray files in the root: {sorted(found - allowed)}"
