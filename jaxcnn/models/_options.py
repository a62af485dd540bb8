"""From a module back to the name and options by which ``create`` builds it."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn

from jaxcnn.models.registry import _BUILDERS, _TRANSFORMER_OPTIONS, Builder, create
from jaxcnn.models.small.transformers import ConvLocalizer, DenseLocalizer, TransformedClassifier

__all__ = ["find_options"]

_LOCALIZERS: Mapping[str, type[nn.Module]] = {"st_cnn": ConvLocalizer, "st_fcn": DenseLocalizer}


def find_options(module: nn.Module) -> tuple[str, dict[str, Any]] | None:
    """Finds the name and the options with which ``create`` builds a module equal to this one.

    Args:
        module: Any module.

    Returns:
        Name and options, or None if ``create`` cannot build it.
    """
    for name, (builder, _) in _nearest_first(module):
        if builder is type(module):
            options = _changed(module)
        elif isinstance(builder, functools.partial) and builder.func is type(module):
            options = _changed(module, builder())
        elif name in _LOCALIZERS and type(module) is TransformedClassifier:
            options = _transformed_options(module, _LOCALIZERS[name])
        else:
            continue
        if "name" in options:  # of the module itself, which is not the name of a model
            continue
        try:
            if create(name, **options) == module:
                return name, options
        except (ValueError, TypeError):
            continue
    return None


def _nearest_first(module: nn.Module) -> list[tuple[str, Builder]]:
    """Lists the builders; of those of the module's class first the one with the fewest options to change."""

    def distance(entry: tuple[str, Builder]) -> int:
        build = entry[1].build
        same = isinstance(build, functools.partial) and build.func is type(module)
        return len(_changed(module, build())) if same else 0

    return sorted(_BUILDERS.items(), key=distance)


def _changed(module: nn.Module, default: nn.Module | None = None) -> dict[str, Any]:
    """Returns the fields that differ from the defaults, or from another module's; the number of classes always."""
    values = {
        field.name: (getattr(module, field.name), field.default if default is None else getattr(default, field.name))
        for field in dataclasses.fields(module)
    }
    return {
        name: value
        for name, (value, default) in values.items()
        if name != "parent" and (name == "num_classes" or (value is not default and value != default))
    }


def _transformed_options(module: TransformedClassifier, kind: type[nn.Module]) -> dict[str, Any]:
    localizer = module.transformer.localizer
    if type(localizer) is not kind:
        return {}
    of_transformer = {k: v for k, v in _changed(module.transformer).items() if k in _TRANSFORMER_OPTIONS}
    of_localizer = {f"localizer_{k}": v for k, v in _changed(localizer).items() if "dtype" not in k}
    return {**of_transformer, **of_localizer, **_changed(module.classifier)}
