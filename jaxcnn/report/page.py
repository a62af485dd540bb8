"""One self-contained HTML page: text, tables, and images within the file; nothing is fetched."""

import base64
import html
import os
from collections.abc import Mapping, Sequence
from pathlib import Path

__all__ = ["DARK", "NARROW", "figure_html", "table_html", "tile_html", "write_page"]

_PNG = b"\x89PNG\r\n\x1a\n"

_LEAST = 0.55
"""Smallest scale of a figure: labels of 10 points at 144 dots per inch become some 11 pixels high."""

NARROW = "(max-width: 980px)"
"""Where figures for narrow screens are shown."""

DARK = "(prefers-color-scheme: dark)"

STYLE = """
:root { color-scheme: light dark; --ink: #20262d; --muted: #55606b; --page: #fff; --line: #d5dae0; --faint: #e6e9ed;
  --block: #f5f6f8; }
@media (prefers-color-scheme: dark) { :root { --ink: #e3e8ed; --muted: #a7b2bd; --page: #15191e; --line: #3d4650;
  --faint: #2a3138; --block: #1e242a; } }
* { box-sizing: border-box; }
body { font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", sans-serif; color: var(--ink);
  background: var(--page); max-width: 62rem; margin: 0 auto; padding: 2rem 1.25rem 4rem; }
h1 { font-size: 1.7rem; line-height: 1.25; margin: 0 0 .75rem; }
h2 { font-size: 1.15rem; margin: 2.5rem 0 .5rem; border-bottom: 1px solid var(--line); padding-bottom: .25rem; }
h3 { font-size: 1rem; margin: 1.75rem 0 0; }
p { max-width: 46rem; }
figure { margin: 1rem 0; } .scroll img { max-width: 100%; min-width: var(--wide, 0); height: auto; display: block; }
figcaption { color: var(--muted); font-size: .9rem; margin-top: .35rem; max-width: 46rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .75rem 0; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: .35rem 1.1rem .35rem 0; border-bottom: 1px solid var(--faint); }
th { font-weight: 600; vertical-align: bottom; } td.number, th.number { text-align: right; }
td { overflow-wrap: anywhere; } td.number { white-space: nowrap; }
code, pre { font: .86rem/1.5 ui-monospace, "DejaVu Sans Mono", monospace; }
pre { background: var(--block); padding: .75rem 1rem; border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(8.5rem, 30%), 1fr)); gap: .75rem .6rem;
  margin: .5rem 0 1.25rem; }
.tiles figure { margin: 0; } .tiles figcaption { font-size: .8rem; line-height: 1.3; margin: .2rem 0 0; }
.tiles img { display: block; width: 100%; border: 1px solid var(--line); }
.small img { image-rendering: pixelated; }
.row { font-size: .9rem; margin: 1rem 0 0; } .row span { color: var(--muted); }
@media (max-width: 980px) { .scroll img { min-width: var(--narrow, var(--wide, 0)); } }
@media (max-width: 620px) {
  table.many, .many tbody, .many tr, .many td { display: block; } .many tr:first-child { display: none; }
  .many td { border: 0; padding: .15rem 0; } .many td:first-child { font-weight: 600; padding-top: .6rem; }
  .many td:last-child { border-bottom: 1px solid var(--faint); padding-bottom: .6rem; }
  .many td.number { display: flex; justify-content: space-between; gap: 1rem; white-space: normal; }
  .many td.number::before { content: attr(data-name); color: var(--muted); }
}
@media print { :root { color-scheme: light; } }
"""


def table_html(header: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Builds a table; all columns but the first are aligned as numbers.

    On a screen too narrow for three or more columns each row is a block of lines.

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
        names = [html.escape(name) for name in header]
        label = [f' data-name="{name}"' if tag == "td" else "" for name in names]
        kinds = ["", *(f' class="number"{text}' for text in label[1:])]
        return "".join(f"<{tag}{k}>{html.escape(str(v))}</{tag}>" for k, v in zip(kinds, row, strict=True))

    body = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in rows)
    many = ' class="many"' if len(header) > 2 else ""
    return f'<div class="scroll"><table{many}>\n<tr>{cells("th", header)}</tr>\n{body}\n</table></div>'


def figure_html(image: bytes, caption: str, *, alternative: str, variants: Mapping[str, bytes] | None = None) -> str:
    """Embeds a PNG; on a narrow screen it scrolls before its labels become too small to read.

    Args:
        image: The file's bytes.
        caption: A description of the figure.
        alternative: The text that replaces the image where it cannot be shown.
        variants: Media query -> the PNG that is shown in place of ``image`` where it holds; the first that holds
            counts, such as ``{"(prefers-color-scheme: dark)": ...}``.

    Returns:
        HTML.

    Example:
        >>> from jaxcnn import report
        >>> report.figure_html(b"...", "Loss.", alternative="curves").count('<img alt="curves" src="data:')
        1
    """
    others = dict(variants or {})
    sources = "".join(f'<source media="{html.escape(media)}" srcset="{_embed(one)}">' for media, one in others.items())
    narrow = next((one for media, one in others.items() if "max-width" in media), b"")
    least = {"wide": _least_width(image), "narrow": _least_width(narrow)}
    properties = "; ".join(f"--{name}: {width}px" for name, width in least.items() if width)
    style = f' style="{properties}"' if properties else ""
    shown = f'<img alt="{html.escape(alternative)}" src="{_embed(image)}"{style}>'
    shown = f"<picture>{sources}{shown}</picture>" if sources else shown
    return f'<figure><div class="scroll">{shown}</div><figcaption>{html.escape(caption)}</figcaption></figure>'


def tile_html(image: bytes, label: str, *, share: int | float = 1) -> str:
    """Embeds a small picture with a label, for a ``<div class="tiles">``, where tiles fill lines as the screen allows.

    Args:
        image: The bytes of a PNG or WebP file.
        label: The text below, which also replaces the picture where it cannot be shown.
        share: Width of the picture as a share of the tile's.

    Returns:
        HTML.
    """
    text, style = html.escape(label), "" if share == 1 else f' style="width: {100 * share:.1f}%"'
    return f'<figure><img alt="{text}" src="{_embed(image)}"{style}><figcaption>{text}</figcaption></figure>'


def _embed(image: bytes) -> str:
    kind = "webp" if image[8:12] == b"WEBP" else "png"
    return f"data:image/{kind};base64,{base64.b64encode(image).decode()}"


def _least_width(image: bytes) -> int:
    """Returns the smallest legible width of a PNG in pixels, 0 of anything else."""
    return round(_LEAST * int.from_bytes(image[16:20], "big")) if image.startswith(_PNG) else 0


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
<meta name="color-scheme" content="light dark">
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
