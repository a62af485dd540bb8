"""The list of operations in the documentation is that of the package."""

from tests.support.operations_table import PAGE, page


def test_the_page_lists_all_operations():
    text = PAGE.read_text(encoding="utf-8")
    assert page(text) == text, "run python -m tests.support.operations_table."
