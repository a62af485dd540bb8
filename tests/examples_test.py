"""Every example of a docstring and every snippet of a page runs as it stands when pasted into a fresh interpreter."""

import ast
import doctest
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

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


LONG = {
    *("augment.policies.aug_mix", "augment.counter.counter_normal", "augment.mixing.cutmix"),
    *("augment.policies.auto_augment", "augment.policies.rand_augment"),
    *(
        "layers.inverse_compositional.InverseCompositionalTransformer",
        "layers.parallel_transformer.ParallelTransformer",
    ),
    *("layers.volume_transformer.VolumeTransformer", "layers.convolution.DepthwiseConv", "layers.dropout.DropBlock"),
    *("layers.transformer.SpatialTransformer", "layers.pooling.GlobalWeightedAveragePool"),
    *("models.small.weighted_pooling.WeightedPoolingCNN", "models.small.transformers.TransformedClassifier"),
    *("models.small.classifiers.CNN", "models.small.classifiers.FCN", "models.mobilenet_v2.MobileNetV2"),
    *("models.xception.Xception", "models.mobilenet.MobileNet"),
    *("ops.linearized.linearized_grid_sample", "ops.tone.equalize", "ops.matrices.fit_tps", "ops.matrices.apply_tps"),
    *("ops.matrices.fit_affine", "ops.remap.perspective", "ops.remap.affine", "ops.remap.remap", "ops.grids.tps_grid"),
    *("ops.noise.add_shot_noise", "ops.filters.gaussian_blur", "ops.filters.adjust_sharpness", "ops.hsv.adjust_hue"),
    *("ops.pooling.gem_pool", "ops.erasing.grid_mask", "ops.warps.warp_tps"),
    *("report.gallery_folder.write_gallery", "report.gallery.overview_gallery", "report.gallery.policy_samples"),
    *("train.loading.load_model", "train.loading.load_variables", "train.result.Result.member"),
    *("data.generator.distorted", "data.generator.Generator", "recipes.rts_digits.optimizer"),
}
"""Docstrings in ``jaxcnn`` whose examples compile much of what other tests run daily."""


def examples() -> Iterator[Any]:
    """Lists all of them as parameters of a test."""
    for name, *rest in (*snippets(), *docstrings()):
        yield pytest.param(*rest, id=name, marks=[pytest.mark.nightly] * (name.removeprefix("jaxcnn.") in LONG))


def test_long_examples_exist():
    assert {f"jaxcnn.{name}" for name in LONG} <= {name for name, *_ in docstrings()}


@pytest.mark.parametrize(("path", "line", "text"), list(examples()))
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
