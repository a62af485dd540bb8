"""One self-contained HTML page: text, tables, and images within the file; nothing is fetched."""

import base64
import html
import os
from collections.abc import Sequence
from pathlib import Path

__all__ = ["figure_html", "table_html", "write_page"]

_PNG = b"\x89PNG\r\n\x1a\n"

_LEAST = 0.6
"""Smallest scale of a figure: labels of 8 points at 144 dots per inch become some 10 pixels high."""

STYLE = """
:root { color-scheme: light; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: #20262d;
  background: #fff; max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid #d5dae0; padding-bottom: .25rem; }
p { max-width: 46rem; }
figure { margin: 1rem 0; } figure img { max-width: 100%; height: auto; display: block; }
figcaption { color: #55606b; font-size: .9rem; margin-top: .35rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem 0; border-bottom: 1px solid #e6e9ed; white-space: nowrap; }
th { font-weight: 600; } td.number, th.number { text-align: right; }
code, pre { font: .86rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: #f5f6f8; padding: .75rem 1rem; overflow-x: auto; border-radius: 4px; }
"""


def table_html(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Builds a table; all columns but the first are aligned as numbers.

    Args:
        header: Names of the columns.
        rows: Cells, converted to escaped text.

    Returns:
        HTML.

    Example:
        >>> from jaxcnn import report
        >>> "<td>a &lt; b</td>" in report.table_html(["name", "n"], [["a < b", 3]])
        True
    """

    def cells(tag: str, row: Sequence[object]) -> str:
        kinds = ["", *[' class="number"'] * (len(row) - 1)]
        return "".join(f"<{tag}{k}>{html.escape(str(v))}</{tag}>" for k, v in zip(kinds, row, strict=True))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    return f'<div class="scroll"><table>\n<tr>{cells("th", header)}</tr>\n{body}\n</table></div>'


def figure_html(image: bytes, caption: str, *, alternative: str) -> str:
    """Embeds a PNG; on a narrow screen it scrolls before its labels become too small to read.

    Args:
        image: The file's bytes.
        caption: A description of the figure.
        alternative: The text that replaces the image where it cannot be shown.

    Returns:
        HTML.

    Example:
        >>> from jaxcnn import report
        >>> report.figure_html(b"...", "Loss.", alternative="curves").count('<img alt="curves" src="data:')
        1
    """
    source = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    text, is_png = html.escape(caption), image.startswith(_PNG)
    width = round(_LEAST * int.from_bytes(image[16:20], "big")) if is_png else 0  # of the header, in pixels
    style = f' style="min-width: {width}px"' if width else ""
    embedded = f'<div class="scroll"><img alt="{html.escape(alternative)}" src="{source}"{style}></div>'
    return f"<figure>{embedded}<figcaption>{text}</figcaption></figure>"


def write_page(
    path: str | os.PathLike[str], title: str, summary: str, sections: Sequence[tuple[str, Sequence[str]]]
) -> None:
    """Writes a page.

    Args:
        path: The file.
        title: The title, plain text.
        summary: The first paragraph, plain text.
        sections: Heading and pieces of HTML of each, as ``table_html`` and ``figure_html`` return them.

    Example:
        >>> from jaxcnn import report
        >>> import pathlib, tempfile
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     report.write_page(f"{folder}/page.html", "Digits", "It worked.", [("Results", ["<p>fine</p>"])])
        ...     "<h2>Results</h2>" in pathlib.Path(folder, "page.html").read_text()
        True
    """
    parts = ["\n".join([f"<h2>{html.escape(heading)}</h2>", *pieces]) for heading, pieces in sections]
    text = f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{STYLE}</style>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p>{html.escape(summary).replace(" %", "&nbsp;%")}</p>
{chr(10).join(parts)}
</body>
</html>
"""
    Path(path).write_text(text, encoding="utf-8")
