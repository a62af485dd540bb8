"""The command about models: ``jaxcnn models``."""

import dataclasses

from jaxcnn.cli.options import CommandOptions
from jaxcnn.cli.output import write_table

__all__ = ["Models", "run_models"]


@dataclasses.dataclass(frozen=True)
class Models(CommandOptions):
    """List the models that `jaxcnn.models.create` builds."""


def run_models(command: Models) -> None:
    """Prints the names of the models and their numbers of parameters."""
    del command
    import jax
    import jax.numpy as jnp

    from jaxcnn import models

    rows = []
    for name in models.names():
        model, x = models.create(name), jnp.zeros((1, 42, 42, 1))
        variables = jax.eval_shape(model.init, jax.random.key(0), x)
        rows.append((name, f"{sum(leaf.size for leaf in jax.tree.leaves(variables['params'])):,}"))
    write_table(("model", "parameters, 42 x 42 x 1 to 10 classes"), rows)
