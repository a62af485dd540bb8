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
from jaxcnn.report.page import figure_html, table_html, write_page
from jaxcnn.report.style import png

__all__ = ["write_gallery"]

TITLE = "Augmentations of a picture"
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
    write_page(
        page,
        TITLE,
        "Magnitudes increase from left to right; functions without a magnitude are shown with several draws.",
        [
            ("Functions", [figure_html(files["functions.png"], caption, alternative="all functions")]),
            (f"Policy: {policy}", [figure_html(files["policy.png"], grid, alternative="samples of the policy")]),
            (
                "How this was made",
                [table_html(("option", "value"), list(options.items())), f"<pre>{html.escape(command)}</pre>"],
            ),
        ],
    )
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return [*(folder / name for name in files), page]


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
