"""The command about models: ``jaxcnn models``."""

import dataclasses
from typing import Annotated

from jaxcnn.cli.options import CommandOptions, positional
from jaxcnn.cli.output import write_table

__all__ = ["Models", "run_models"]

_TITLES = {
    "pytorch": "torchvision",
    "keras": "Keras",
    "tensorflow": "TensorFlow slim",
    "cifar": "CIFAR-10",
    "": "of the experiments",
}


@dataclasses.dataclass(frozen=True)
class Models(CommandOptions):
    """List the models that `jaxcnn.models.create` builds, by source.

    GFLOPs: operations of one image, a multiplication and an addition are two. Top-1: the best that the source states
    for ImageNet. File: whether weights are in the cache.
    """

    text: Annotated[str, positional("TEXT", "all")] = ""
    """Only names that contain this."""


def run_models(command: Models) -> None:
    """Prints a table of models for every source."""
    from jaxcnn import models
    from jaxcnn._suggest import suggest

    names = [name for name in models.names() if command.text.lower() in name]
    if not names:
        hint = suggest(command.text, models.names())
        raise ValueError(f"models: text must be part of a model's name, got {command.text!r}{hint}.")
    groups: dict[str, list[str]] = {source: [] for source in _TITLES}
    for name in names:
        groups[_find_group(name)].append(name)
    header = ("model", "parameters", "GFLOPs", "image", "top-1", "file")
    for source, members in groups.items():
        if members:
            write_table(header, [_describe(name) for name in members], title=_TITLES[source])


def _find_group(name: str) -> str:
    """Returns the source of a model, a key of the titles."""
    from jaxcnn.models.registry import ARCHITECTURES

    if name not in ARCHITECTURES:
        return ""
    if name.startswith("cifar_"):
        return "cifar"
    return name.partition("/")[0] if "/" in name else ARCHITECTURES[name].source


def _describe(name: str) -> tuple[str, ...]:
    """Returns the row of a model: of published ones for the images and classes that their sources trained them for."""
    import jax
    import jax.numpy as jnp

    from jaxcnn import models
    from jaxcnn.models.cost import read_flops
    from jaxcnn.models.registry import ARCHITECTURES
    from jaxcnn.zoo.download.downloads import cached
    from jaxcnn.zoo.families import find_records

    if (one := ARCHITECTURES.get(name)) is not None:
        known = find_records().get(name, ())
        figures = [figure for record in known if (figure := record.accuracy("top-1")) is not None]
        has_file = any(cached(record.url, checksum=record.checksum) for record in known if record.url)
        best = f"{max(figures):.1f}" if figures else ""
        flops = read_flops().get(name)
        cost = "" if flops is None else _format_billions(flops)
        return name, f"{one.parameters:,}", cost, str(one.size), best, "cached" if has_file else ""
    size = 42
    model = models.create(name)
    variables = jax.eval_shape(model.init, jax.random.key(0), jnp.zeros((1, size, size, 1)))
    count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
    return name, f"{count:,}", _format_billions(models.count_flops(model, (size, size, 1))), f"{size} (grey)", "", ""


def _format_billions(number: int) -> str:
    """Formats a number of operations with three digits, or as many as a thousandth leaves."""
    return f"{number / 1e9:.3f}" if number < 1e9 else f"{number / 1e9:.2f}"
