"""The folder that ``jaxcnn augment`` writes: plots of augmentations, and one page with them.

``docs/images/augment.png`` is the ``overview.png`` of ``jaxcnn augment --overview``.
"""

import html
import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import Float
from jaxcnn.report import gallery
from jaxcnn.report.page import table_html, tile_html, write_page
from jaxcnn.report.style import png

__all__ = ["write_gallery"]

TITLE = "Augmentations of a picture"
SMALL = 96
"""Longer side, in pixels, below which pictures are shown with visible pixels."""

FILES = ("functions.png", "policy.png", "overview.png", "index.html")


def write_gallery(
    folder: Path,
    images: Sequence[str | os.PathLike[str]] = (),
    *,
    functions: Sequence[str] = (),
    policy: str | None = None,
    size: int = 192,
    seed: int = 0,
    samples: int = 24,
    overview: bool = False,
    command: str = "",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Path]:
    """Draws all functions on the first picture and samples of a policy on every one, and writes a page with both.

    Args:
        folder: New, empty, or written by this function before; then its files are replaced.
        images: Paths of pictures; by default scikit-learn's photograph of a flower.
        functions: Names of the functions to draw; by default all.
        policy: One of ``gallery.policies()``; None: the first of them.
        size: Longer side that pictures are resized to.
        seed: Seed of the draws.
        samples: Samples of the policy per picture.
        overview: Whether to write the small ``overview.png`` as well.
        command: Command that is shown on the page.
        progress: Called as ``progress(done, total)`` after every row of functions and every picture.

    Returns:
        The files, the page last.

    Raises:
        FileNotFoundError: If a picture does not exist.
        ValueError: If the folder contains anything else, a picture cannot be read, or an option is invalid.

    Example:
        >>> import pathlib, tempfile
        >>> from jaxcnn.report.gallery_folder import write_gallery
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     paths = write_gallery(pathlib.Path(folder), functions=["random_hue"], policy="basic", size=12)
        >>> [path.name for path in paths]
        ['functions.png', 'policy.png', 'index.html']
    """
    known = gallery.policies()
    policy = next(iter(known)) if policy is None else policy
    check_choice("augment", "policy", policy, tuple(known))
    for name, value, least in (("size", size, 8), ("samples", samples, 1), ("seed", seed, 0)):
        check(is_integer_at_least(value, least), "augment", name, f"an integer of at least {least}", repr(value))
    _check_free(folder)
    given = [gallery.read_image(path, size=size) for path in images]
    names = [Path(path).name for path in images]
    if not given:
        given, names = [_flower(size)], ["flower.jpg"]

    def report_progress(done: int, functions: int) -> None:
        progress(done, functions + len(given))

    table = gallery.compute_pictures(given[0], functions=functions, seed=seed, progress=report_progress)
    drawn = []
    for image in given:
        drawn.append(gallery.policy_samples(known[policy], image, samples=samples, seed=seed))
        report_progress(len(table) + len(drawn), len(table))
    files = {
        "functions.png": png(gallery.draw_functions(given[0], table), dpi=120),
        "policy.png": png(gallery.sample_gallery(given, drawn, names), dpi=120),
    }
    if overview:
        files["overview.png"] = _small(png(gallery.draw_overview(given[0], table), dpi=100))
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        (folder / name).unlink(missing_ok=True)
    page = folder / "index.html"
    options = {"policy": policy, "size": size, "seed": seed, "samples": samples, "pictures": ", ".join(names)}
    which = "Some" if functions else "All"
    caption = f"{which} random functions of jaxcnn.augment on {names[0]}: the original, then five draws or magnitudes."
    grid = f"{samples} samples of {policy} for each picture; sample i is drawn from fold_in(key({seed}), i)."
    sampled = [
        f"<h3>{html.escape(name)}</h3>{_tiles(image, [('original', image), *_number(drawn_of)])}"
        for name, image, drawn_of in zip(names, given, drawn, strict=True)
    ]
    write_page(
        page,
        TITLE,
        "Magnitudes increase from left to right; functions without a magnitude are shown with several draws.",
        [
            ("Functions", [f"<p>{html.escape(caption)}</p>", *_function_rows(given[0], table)]),
            (f"Policy: {policy}", [f"<p>{html.escape(grid)}</p>", *sampled]),
            (
                "How this was made",
                [table_html(("option", "value"), list(options.items())), f"<pre>{html.escape(command)}</pre>"],
            ),
        ],
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in files), page]


def _function_rows(image: Float[np.ndarray, "h w c"], table: gallery.Pictures) -> list[str]:
    """Writes the functions of every group, each a line of tiles behind its name and what changes."""
    pieces, group = [], ""
    for row, pictures in table:
        if row.group != group:
            pieces.append(f"<h3>{html.escape(row.group)}</h3>")
            group = row.group
        title = f"<b>{html.escape(', '.join(row.names))}</b> <span>{html.escape(row.note)}</span>"
        labels = [cell.label for cell in row.cells]
        tiles = [("original", image), *zip(labels, pictures, strict=True)]
        pieces.append(f'<p class="row">{title}</p>{_tiles(image, tiles)}')
    return pieces


def _number(samples: Sequence[np.ndarray]) -> list[tuple[str, np.ndarray]]:
    return [(f"sample {i}", sample) for i, sample in enumerate(samples)]


def _tiles(original: Float[np.ndarray, "h w c"], pictures: Sequence[tuple[str, np.ndarray]]) -> str:
    """Writes labelled pictures side by side, at one scale."""
    height, width = original.shape[:2]
    small = " small" if max(height, width) < SMALL else ""
    tiles = [tile_html(_encode(one), label, share=min(1, one.shape[1] / width)) for label, one in pictures]
    return f'<div class="tiles{small}">{"".join(tiles)}</div>'


def _encode(image: Float[np.ndarray, "h w c"]) -> bytes:
    """Encodes a picture for the page, where a tenth of the bytes of a PNG shows the same."""
    import PIL.Image

    pixels = np.round(255 * np.clip(image, 0, 1)).astype(np.uint8)
    buffer = io.BytesIO()
    PIL.Image.fromarray(pixels[..., 0] if pixels.shape[-1] == 1 else pixels).save(buffer, format="webp", quality=80)
    return buffer.getvalue()


def _check_free(folder: Path) -> None:
    """Refuses a folder that contains anything not written here."""
    if not folder.exists():
        return
    inside = {path.name for path in folder.iterdir()} if folder.is_dir() else {folder.name}
    page = folder / "index.html"
    own = not inside or (inside <= set(FILES) and page.is_file() and TITLE in page.read_text(errors="replace")[:1000])
    check(own, "augment", "out", "new, empty, or a folder of an earlier gallery", repr(str(folder)))


def _flower(size: int) -> Float[np.ndarray, "h w 3"]:
    import sklearn.datasets

    return gallery.read_image(Path(sklearn.datasets.__file__).parent / "images" / "flower.jpg", size=size)


def _small(picture: bytes) -> bytes:
    """Reduces a PNG to a palette of 256 colors."""
    import PIL.Image

    buffer = io.BytesIO()
    with PIL.Image.open(io.BytesIO(picture)) as opened:
        reduced = opened.convert("RGB").quantize(256, kmeans=4, dither=PIL.Image.Dither.NONE)
    reduced.save(buffer, format="png", optimize=True)
    return buffer.getvalue()
