"""Every example of a docstring and every snippet of a page runs as it stands when pasted into a fresh interpreter."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")


def snippets() -> Iterator[tuple[str, Path, int, str]]:
    """Lists name, page, line and text of the examples of pages."""
    for page in PAGES:
        text = page.read_text()
        for match in SNIPPET.finditer(text):
            if ">>>" in match[1]:
                line = text.count("\n", 0, match.start(1))
                yield f"{page.relative_to(ROOT)}:{line}", page, line, match[1]


def docstrings() -> Iterator[tuple[str, Path, int, str]]:
    """Lists name, file, line and text of the docstrings that have an example."""
    for path in sorted((ROOT / "jaxcnn").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts)
        waiting: list[tuple[str, ast.Module | ast.ClassDef | ast.FunctionDef]] = [(module, ast.parse(path.read_text()))]
        while waiting:
            name, node = waiting.pop()
            text = ast.get_docstring(node)
            if text is not None and ">>>" in text:
                yield name, path, node.body[0].lineno - 1, text
            waiting += [
                (f"{name}.{item.name}", item) for item in node.body if isinstance(item, ast.ClassDef | ast.FunctionDef)
            ]


@pytest.mark.parametrize(
    ("path", "line", "text"), [pytest.param(*rest, id=name) for name, *rest in (*snippets(), *docstrings())]
)
def test_example(path: Path, line: int, text: str):
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, path.name, str(path), line)
    report: list[str] = []
    doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not report, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page: Path):
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page}: {missing} do not exist."
