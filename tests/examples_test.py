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
    "augment.composition.sequence",
    "augment.counter.counter_bits",
    "augment.counter.counter_normal",
    "augment.counter.counter_uniform",
    "augment.cropping.random_resized_crop",
    "augment.erasing.random_grid_mask",
    "augment.inversion.inverse",
    "augment.mixing.cutmix",
    "augment.mixing.mixup",
    "augment.noise.random_gaussian_noise",
    "augment.noise.random_salt_and_pepper",
    "augment.noise.random_shot_noise",
    "augment.policies.aug_mix",
    "augment.policies.auto_augment",
    "augment.policies.rand_augment",
    "augment.policies.trivial_augment",
    "data.generator.Generator",
    "data.generator.Stream",
    "data.generator.distorted",
    "graphs.heatmaps.compute_heat_maps",
    "layers.convolution.Conv",
    "layers.convolution.DepthwiseConv",
    "layers.dropout.DropBlock",
    "layers.dropout.SpatialDropout",
    "layers.inverse_compositional.InverseCompositionalTransformer",
    "layers.parallel_transformer.ParallelTransformer",
    "layers.pooling.GlobalWeightedAveragePool",
    "layers.transformer.SpatialTransformer",
    "layers.volume_transformer.VolumeTransformer",
    "losses.cross_entropy",
    "losses.jensen_shannon",
    "metrics.confusion_matrix",
    "metrics.top_k_accuracy",
    "models.mobilenet.MobileNet",
    "models.mobilenet_v2.MobileNetV2",
    "models.resnet.ResNet",
    "models.small.classifiers.CNN",
    "models.small.classifiers.FCN",
    "models.small.transformers.TransformedClassifier",
    "models.small.weighted_pooling.WeightedPoolingCNN",
    "models.xception.MiniXception",
    "models.xception.Xception",
    "ops.color.adjust_contrast",
    "ops.color.adjust_saturation",
    "ops.color.permute_channels",
    "ops.crops.crop_and_resize",
    "ops.erasing.erase",
    "ops.erasing.grid_mask",
    "ops.filters.adjust_sharpness",
    "ops.filters.gaussian_blur",
    "ops.grids.tps_grid",
    "ops.hsv.adjust_hue",
    "ops.linearized.linearized_grid_sample",
    "ops.matrices.apply_tps",
    "ops.matrices.fit_affine",
    "ops.matrices.fit_homography",
    "ops.matrices.fit_tps",
    "ops.matrices.invert_matrix",
    "ops.noise.add_shot_noise",
    "ops.pooling.gem_pool",
    "ops.pooling.lse_pool",
    "ops.pooling.max_pool",
    "ops.pooling.weighted_average_pool",
    "ops.remap.affine",
    "ops.remap.perspective",
    "ops.remap.remap",
    "ops.tone.autocontrast",
    "ops.tone.equalize",
    "ops.warps.warp_flow",
    "ops.warps.warp_perspective",
    "ops.warps.warp_tps",
    "recipes.rts_digits.generator",
    "recipes.rts_digits.optimizer",
    "report.gallery.function_gallery",
    "report.gallery.overview_gallery",
    "report.gallery.policies",
    "report.gallery.policy_samples",
    "report.gallery_folder.write_gallery",
    "train.ensemble.fit_ensemble",
    "train.loading.load_model",
    "train.loading.load_variables",
    "train.result.Result",
    "train.result.Result.best_variables",
    "train.result.Result.member",
    "train.state.create_state",
    "train.step.make_eval_step",
    "train.stopping.NonFiniteLossError",
}
"""Docstrings in ``jaxcnn`` whose examples compile much of what other tests run daily."""


LONG_PAGES = tuple(f"docs/{name}.md:" for name in ("augmentation", "sampling", "training"))
"""Pages of whose subjects ``README.md`` has short examples."""


def examples() -> Iterator[Any]:
    """Lists all of them as parameters of a test."""
    for name, *rest in (*snippets(), *docstrings()):
        long = name.startswith(LONG_PAGES) or name.removeprefix("jaxcnn.") in LONG
        yield pytest.param(*rest, id=name, marks=[pytest.mark.nightly] if long else [])


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
