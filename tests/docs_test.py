"""Every snippet of README and docs runs when it is pasted into a fresh interpreter, and every relative link exists."""

import doctest
import re

import pytest

from tests.support.paths import ROOT

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").rglob("*.md"))]
FLAGS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
SNIPPET = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)#\s]+)[^)\s]*\)")


def snippets():
    """Lists page, line and text of the examples."""
    for page in PAGES:
        text = page.read_text()
        for match in SNIPPET.finditer(text):
            if ">>>" in match[1]:
                line = text.count("\n", 0, match.start(1))
                yield pytest.param(page, line, match[1], id=f"{page.relative_to(ROOT)}:{line}")


@pytest.mark.parametrize(("page", "line", "text"), snippets())
def test_snippet(page, line, text):
    test = doctest.DocTestParser().get_doctest(text, {"__name__": "__main__"}, page.name, str(page), line)
    report: list[str] = []
    failed, _ = doctest.DocTestRunner(optionflags=FLAGS).run(test, out=report.append)
    assert not failed, "".join(report)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_exist(page):
    targets = [target for target in LINK.findall(page.read_text()) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target).exists()]
    assert not missing, f"{page}: {missing} do not exist."
