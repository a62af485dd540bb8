"""What a finished run is read back as: its variables, and its model."""

import os
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax import traverse_util

from jaxcnn._check import check, is_integer_at_least, shape_text
from jaxcnn.train.checkpoints import checkpoint_steps, read_checkpoint, read_last_checkpoint
from jaxcnn.train.history import best_evaluation, evaluations, read_history
from jaxcnn.train.members import best_member
from jaxcnn.train.module_description import build_module
from jaxcnn.train.run_folder import RunInfo, read_single_run
from jaxcnn.train.state import init_variables

__all__ = ["has_evaluations", "load_model", "load_variables"]


def load_variables(
    run: str | os.PathLike[str], *, checkpoint: int | str = "last", member: int | Literal["best"] | None = None
) -> dict[str, Any]:
    """Reads the model's variables out of a run folder, without model or optimizer.

    Args:
        run: Folder that ``fit`` or ``fit_ensemble`` wrote.
        checkpoint: ``"last"``, ``"best"`` (by the metric that the run was configured with), or a step.
        member: Of an ensemble, a member by number, or ``"best"`` for the one with the best evaluation at that
            checkpoint; None for all.

    Returns:
        Variables to evaluate with (averaged parameters where the run kept them); of an ensemble with a
        leading axis of members. Where the last checkpoint is damaged, the one before is read, with a warning.

    Raises:
        ValueError: If there is no such run, checkpoint or member, or it is damaged or of another format.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import load_variables
        >>> import flax.linen as nn, optax, tempfile
        >>> from jaxcnn.train import fit
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> with tempfile.TemporaryDirectory() as run:
        ...     result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), [batch], steps=2, run=run)
        ...     variables = load_variables(run)
        >>> bool((variables["params"]["kernel"] == result.variables["params"]["kernel"]).all())
        True
    """
    return _read_variables("load_variables", read_single_run("load_variables", run), checkpoint, member)


def load_model(
    run: str | os.PathLike[str],
    *,
    checkpoint: int | str = "best",
    member: int | Literal["best"] | None = None,
    model: nn.Module | None = None,
) -> tuple[nn.Module, dict[str, Any]]:
    """Reads model and variables out of a run folder.

    The folder describes the model: as name and options of ``models.create``, or as the class of a Linen module with
    its fields. Classes of this package and of Flax are found by name; one of your own is found where the module that
    defines it is imported already. Nothing that the folder names is imported from elsewhere or run. A field that no
    JSON can describe, such as a function of your own, needs ``model``.

    Args:
        run: Folder that ``fit`` or ``fit_ensemble`` wrote.
        checkpoint: ``"best"``, by the metric that the run was configured with, or the last where there is none;
            ``"last"``; or a step.
        member: Of an ensemble, a member by number, or ``"best"``; None for all.
        model: The module, where the folder cannot describe it.

    Returns:
        The module, and variables to evaluate it with, as of ``load_variables``.

    Raises:
        ValueError: If there is no such run, checkpoint or member; if it is of another format; if the model cannot be
            built, or has other parameters than the run.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> import optax, tempfile
        >>> from jaxcnn import models, train
        >>> batch = {"image": jnp.ones((3, 8, 8, 1)), "label": jnp.arange(3)}
        >>> model = models.create("fcn", num_classes=3, units=(4,))
        >>> with tempfile.TemporaryDirectory() as run:
        ...     _ = train.fit(jax.random.key(0), model, optax.sgd(0.1), [batch], steps=2, run=run)
        ...     loaded, variables = train.load_model(run)
        >>> loaded == model, loaded.apply(variables, batch["image"]).shape
        (True, (3, 3))
    """
    name = "load_model"
    info = read_single_run(name, run)
    if checkpoint == "best" and not has_evaluations(info):
        checkpoint = "last"
    variables = _read_variables(name, info, checkpoint, member)
    if model is None:
        try:
            model = build_module(info.model)
        except ValueError as error:
            text = f"{name}: the model of run {str(run)!r} cannot be built: {error}"
            raise ValueError(f"{text}. Pass it: load_model(run, model=...).") from None
    _check_parameters(model, info, variables["params"], stacked=info.members is not None and member is None)
    return model, variables


def has_evaluations(info: RunInfo) -> bool:
    """Returns whether the run has evaluations by which one checkpoint can be the best."""
    metric = info.training.get("best")
    return metric is not None and bool(evaluations(read_history(info.folder), metric))


def _check_parameters(model: nn.Module, info: RunInfo, params: Any, *, stacked: bool) -> None:
    """Refuses a model whose parameters are not those of the run; shapes only, nothing is computed."""
    try:
        example = jax.ShapeDtypeStruct((1, *info.input["shape"]), jnp.dtype(info.input["dtype"]))
    except (KeyError, TypeError) as error:
        reason = f"input must be a shape and a dtype, got {info.input!r}"
        raise ValueError(f"load_model: {info.folder / 'run.json'} is damaged: {reason}.") from error
    variables = jax.eval_shape(init_variables(model), jax.random.key(0), example)
    expected: dict[Any, Any] = traverse_util.flatten_dict(variables["params"])
    found: dict[Any, Any] = traverse_util.flatten_dict(params)
    for path in [*expected, *(path for path in found if path not in expected)]:
        here, there = expected.get(path), found.get(path)
        if stacked and isinstance(there, jax.Array):
            there = jax.ShapeDtypeStruct(there.shape[1:], there.dtype)
        texts = ["none" if leaf is None else shape_text(leaf) for leaf in (here, there)]
        place = "/".join(map(str, path))
        check(texts[0] == texts[1], "load_model", "model", f"that of the run, {place} {texts[1]}", texts[0])


def _read_variables(function: str, info: RunInfo, checkpoint: int | str, member: object) -> dict[str, Any]:
    steps, name = checkpoint_steps(info.folder), repr(str(info.folder))
    check(bool(steps), function, "run", "a run folder with a checkpoint", name)
    step: object = checkpoint
    if checkpoint == "last":
        step = max(steps)
    elif checkpoint == "best":
        metric = info.training.get("best")
        check(metric is not None, function, "run", "made with best=, for checkpoint='best'", name)
        step, _ = best_evaluation([line for line in read_history(info.folder) if line["step"] in steps], str(metric))
        check(step is not None, function, "run", "a run with evaluations, for checkpoint='best'", name)
    expected = f"'last', 'best' or one of {sorted(steps)}"
    if not isinstance(step, int) or step not in steps:
        raise ValueError(f"{function}: checkpoint must be {expected}, got {checkpoint!r}.")
    stored = read_last_checkpoint(function, info.folder) if checkpoint == "last" else None
    packed = (stored or read_checkpoint(function, info.folder, step)).packed
    step = stored.step if stored is not None else step
    params = packed.get("eval_params", packed["params"])
    if "eval_params" not in packed and "ema" in packed:
        params = jax.tree.map(lambda average, param: average.astype(param.dtype), packed["ema"], params)
    collections = packed.get("eval_state", packed.get("model_state", {}))
    variables = jax.tree.map(jnp.asarray, {"params": params, **collections})
    if member is None:
        return variables
    number = _find_member(function, info, step, member)
    return jax.tree.map(lambda leaf: leaf[number], variables)


def _find_member(function: str, info: RunInfo, step: int, member: object) -> int:
    """Returns the number of a member of an ensemble, or refuses it."""
    count, metric, number = info.members or 0, info.training.get("best"), member
    if count and member == "best" and isinstance(metric, str):
        lines = [line for line in read_history(info.folder) if line["split"] == "test" and line["step"] == step]
        check(bool(lines), function, "checkpoint", "of a step with an evaluation, for member='best'", step)
        found = best_member([line[metric.removeprefix("-")] for line in lines], metric, [True] * len(lines))
        number = found if found is None else lines[found]["member"]
    expected = f"'best' or one of the {count} members, from 0, of {str(info.folder)!r}"
    if not is_integer_at_least(number, 0) or not isinstance(number, int) or number >= count:
        raise ValueError(f"{function}: member must be {expected}, got {member!r}.")
    return number
