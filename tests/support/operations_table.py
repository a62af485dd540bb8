"""The table of operations in ``docs/graphs.md``, which ``python -m tests.support.operations_table`` writes."""

import sys

from jaxcnn.graphs import operation_names
from jaxcnn.graphs.operations.registry import find_subject
from tests.support.paths import ROOT

PAGE = ROOT / "docs" / "graphs.md"
BEGIN = "<!-- written by python -m tests.support.operations_table -->"
END = "<!-- end -->"


def table() -> str:
    """Formats the operations by subject."""
    found: dict[str, list[str]] = {}
    for name in operation_names():
        found.setdefault(find_subject(name), []).append(f"`{name}`")
    rows = [f"| {subject} | {', '.join(names)} |" for subject, names in sorted(found.items())]
    return "\n".join(["| subject | operations |", "| --- | --- |", *rows])


def page(text: str) -> str:
    """Inserts the table into a page."""
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{BEGIN}\n\n{table()}\n\n{END}{after}"


if __name__ == "__main__":
    PAGE.write_text(page(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
    sys.stdout.write(f"wrote {PAGE}\n")
