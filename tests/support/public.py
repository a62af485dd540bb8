"""The list of everything public, read from the files of the package, so that no test keeps a list of its own."""

import ast
import functools
import importlib
from pathlib import Path
from typing import Any, NamedTuple

from tests.support.paths import ROOT

PACKAGE = ROOT / "jaxcnn"
NOT_NAMESPACES = ("cli", "__main__")


class Public(NamedTuple):
    """One public name: ``ops.max_pool``, the file it is written in and its syntax tree."""

    namespace: str
    name: str
    path: Path
    node: Any

    @property
    def address(self) -> str:
        return f"{self.namespace}.{self.name}"

    @property
    def value(self) -> Any:
        return getattr(importlib.import_module(f"jaxcnn.{self.namespace}"), self.name)

    @property
    def docstring(self) -> str:
        return ast.get_docstring(self.node) or ""


def namespaces() -> list[str]:
    """Returns the public modules and folders directly below the package."""
    names = [path.stem for path in PACKAGE.glob("*.py")] + [path.parent.name for path in PACKAGE.glob("*/__init__.py")]
    return sorted(name for name in names if not name.startswith("_") and name not in NOT_NAMESPACES)


@functools.cache  # the files do not change while tests run
def public(*wanted: str) -> list[Public]:
    """Returns the public names of some namespaces, or of all.

    In a folder these are what its ``__init__`` re-exports as ``X as X``, in a single file its
    functions and classes without a leading underscore.
    """
    found = []
    for namespace in wanted or namespaces():
        folder, file = PACKAGE / namespace / "__init__.py", PACKAGE / f"{namespace}.py"
        if file.exists():
            nodes = ast.parse(file.read_text()).body
            defined = [node for node in nodes if isinstance(node, ast.FunctionDef | ast.ClassDef)]
            found += [Public(namespace, node.name, file, node) for node in defined if not node.name.startswith("_")]
            continue
        for node in ast.parse(folder.read_text()).body if folder.exists() else []:
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    if alias.asname == alias.name:
                        path = source(str(node.module))
                        found.append(Public(namespace, alias.name, path, definition(path, alias.name)))
    return found


def source(module: str) -> Path:
    """Returns the file of a module of the package."""
    path = ROOT.joinpath(*module.split("."))
    return path / "__init__.py" if path.is_dir() else path.with_suffix(".py")


def definition(path: Path, name: str) -> Any:
    """Returns the syntax tree of a function, class or constant in a file, or None."""
    if not path.exists():
        return None
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef) and node.name == name:
            return node
        if isinstance(node, ast.Assign) and any(getattr(target, "id", None) == name for target in node.targets):
            return node
        if isinstance(node, ast.AnnAssign) and getattr(node.target, "id", None) == name:
            return node
    return None


def functions(*wanted: str) -> list[Public]:
    """Returns the public functions."""
    return [item for item in public(*wanted) if isinstance(item.node, ast.FunctionDef)]


def classes(*wanted: str) -> list[Public]:
    """Returns the public classes."""
    return [item for item in public(*wanted) if isinstance(item.node, ast.ClassDef)]
