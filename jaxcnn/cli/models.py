"""The command about models: ``jaxcnn models``."""

import dataclasses
from typing import Annotated

from jaxcnn.cli.options import CommandOptions, positional
from jaxcnn.cli.output import write_table

__all__ = ["Models", "run_models"]


@dataclasses.dataclass(frozen=True)
class Models(CommandOptions):
    """List the models that `jaxcnn.models.create` builds, with their parameters at a size and a number of classes."""

    text: Annotated[str, positional("TEXT", "all")] = ""
    """Only names that contain this."""


def run_models(command: Models) -> None:
    """Prints the names of the models and their numbers of parameters."""
    import jax
    import jax.numpy as jnp

    from jaxcnn import models
    from jaxcnn._suggest import suggest
    from jaxcnn.models.registry import ARCHITECTURES

    names = [name for name in models.names() if command.text.lower() in name]
    if not names:
        hint = suggest(command.text, models.names())
        raise ValueError(f"models: text must be part of a model's name, got {command.text!r}{hint}.")
    rows = []
    for name in names:
        if (one := ARCHITECTURES.get(name)) is not None:
            rows.append((name, f"{one.parameters:,}", f"{one.size} x {one.size} x 3", f"{one.classes:,}"))
            continue
        x = jnp.zeros((1, 42, 42, 1))
        variables = jax.eval_shape(models.create(name).init, jax.random.key(0), x)
        count = sum(leaf.size for leaf in jax.tree.leaves(variables["params"]))
        rows.append((name, f"{count:,}", "42 x 42 x 1", "10"))
    write_table(("model", "parameters", "image", "classes"), rows)
