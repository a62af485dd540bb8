"""The run folder: what makes a run, its checkpoints, and how a killed run finds its way back.

Layout::

    run.json          format version and what must stay the same for a run to go on
    metrics.jsonl     one JSON object per line, see ``read_history``
    checkpoints/N/    Orbax checkpoint after step N: state/ (arrays) and progress/ (JSON)

A checkpoint appears under its number in one rename, when it is complete. One that is no longer kept
is first renamed into ``checkpoints/trash`` and removed from there: a number never names half a checkpoint.
"""

import contextlib
import json
import logging
import os
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcnn._check import check, is_integer_at_least, shape_text
from jaxcnn._typing import PyTree
from jaxcnn.train.history import best_evaluation, read_history, write_atomically
from jaxcnn.train.members import best_member
from jaxcnn.train.state import State, is_key

__all__ = ["FORMAT", "RunFolder", "key_text", "load_variables", "tree_text"]

FORMAT = 1
"""Version of the layout of a run folder."""

TRASH = "trash"


class RunFolder:
    """A run folder that is open for one run."""

    def __init__(self, function: str, path: str | os.PathLike[str], config: Mapping[str, Any], keep: int):
        """Opens or makes the folder.

        Args:
            function: Name for messages.
            path: The folder.
            config: What must be the same for a run to be continued; JSON values.
            keep: How many of the last checkpoints to keep besides the best.

        Raises:
            ValueError: If the folder holds a run of another format or configuration.
        """
        check(keep > 0, function, "keep", "positive", keep)
        self.path = Path(path).absolute()
        check(not self.path.exists() or self.path.is_dir(), function, "run", "a folder", str(path))
        self._function, self._config = function, json.loads(json.dumps(config))
        self._checkpoints = self.path / "checkpoints"
        self._checkpoints.mkdir(parents=True, exist_ok=True)
        if (self.path / "run.json").exists():
            _same_run(function, self.path, self._config)
        else:
            found = _steps(self._checkpoints)
            check(not found, function, "run", "a run folder with run.json", f"{path} with checkpoints and no run.json")
            write_atomically(self.path / "run.json", json.dumps({"format": FORMAT, **self._config}, indent=1) + "\n")
        self._best = _KeepStep()
        self._manager = self._open(keep)

    def _open(self, keep: int) -> Any:
        import orbax.checkpoint as ocp

        for leftover in self._checkpoints.iterdir():
            if leftover.name == TRASH or not leftover.name.isdigit():
                shutil.rmtree(leftover, ignore_errors=True)
        policies = [ocp.checkpoint_managers.LatestN(keep), self._best]
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False,
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            todelete_subdir=TRASH,
        )
        return ocp.CheckpointManager(self._checkpoints, options=options)

    def last(self) -> int | None:
        """Gives the step of the last checkpoint, None where there is none."""
        return max(_steps(self._checkpoints), default=None)

    def name(self, step: int) -> str:
        """Gives the path of a checkpoint."""
        return str(self._checkpoints / str(step))

    def save(self, state: State, progress: Mapping[str, Any], best_step: int | None) -> None:
        """Writes a checkpoint and returns when it is on the disk; then drops those that are not kept."""
        import orbax.checkpoint as ocp

        packed = _pack(state)
        self._best.step = best_step
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(packed), progress=ocp.args.JsonSave(dict(progress)))
        self._manager.save(int(np.max(packed["step"])), args=arguments, force=True)
        self._manager.wait_until_finished()
        shutil.rmtree(self._checkpoints / TRASH, ignore_errors=True)

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """Reads a checkpoint into a state of the structure of ``like``, with the progress stored beside it."""
        packed, progress = _read(self._function, self._checkpoints, step)
        return _unpack(packed, like), progress

    def close(self) -> None:
        """Ends the checkpoint manager."""
        self._manager.close()


class _KeepStep:
    """Orbax preservation policy: keeps the checkpoint of one step, which may change from save to save."""

    def __init__(self) -> None:
        self.step: int | None = None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> Sequence[bool]:
        return [checkpoint.step == self.step for checkpoint in checkpoints]


def load_variables(
    run: str | os.PathLike[str], *, checkpoint: int | str = "last", member: int | Literal["best"] | None = None
) -> dict[str, Any]:
    """Reads the model's variables out of a run folder, without model or optimiser.

    Args:
        run: Folder that ``fit`` or ``fit_ensemble`` wrote.
        checkpoint: ``"last"``, ``"best"`` (by the metric that the run was told to go by), or a step.
        member: Of an ensemble, a member by number, or ``"best"`` for the one with the best evaluation at that
            checkpoint; None for all.

    Returns:
        Variables to evaluate with (averaged parameters where the run kept them); of an ensemble with a
        leading axis of members.

    Raises:
        ValueError: If there is no such run, checkpoint or member, or it is of another format.

    Example:
        >>> import flax.linen as nn, optax, tempfile
        >>> from jaxcnn.train import fit
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> with tempfile.TemporaryDirectory() as run:
        ...     result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), [batch], steps=2, run=run)
        ...     variables = load_variables(run)
        >>> bool((variables["params"]["kernel"] == result.variables["params"]["kernel"]).all())
        True
    """
    path = Path(run).absolute()
    check((path / "run.json").is_file(), "load_variables", "run", "a run folder with run.json", repr(str(run)))
    config = _read_config("load_variables", path)
    steps = _steps(path / "checkpoints")
    check(bool(steps), "load_variables", "run", "a run folder with a checkpoint", repr(str(run)))
    if checkpoint == "last":
        step: Any = max(steps)
    elif checkpoint == "best":
        check(config.get("best") is not None, "load_variables", "run", "made with best=", repr(str(run)))
        kept = [line for line in read_history(path) if line["step"] in steps]
        step, _ = best_evaluation(kept, config["best"])
        check(step is not None, "load_variables", "run", "a run with evaluations, for checkpoint='best'", str(run))
    else:
        step = checkpoint
    check(step in steps, "load_variables", "checkpoint", f"'last', 'best' or one of {sorted(steps)}", repr(checkpoint))
    packed, _ = _read("load_variables", path / "checkpoints", step)
    params = packed["params"]
    if "ema" in packed:
        params = jax.tree.map(lambda average, param: average.astype(param.dtype), packed["ema"], params)
    variables = jax.tree.map(jnp.asarray, {"params": params, **packed.get("model_state", {})})
    if member is None:
        return variables
    number = _member(config, path, step, member)
    return jax.tree.map(lambda leaf: leaf[number], variables)


def _member(config: Mapping[str, Any], path: Path, step: Any, member: Any) -> Any:
    """Gives the number of a member of an ensemble, or refuses it."""
    count = config.get("members") or 0
    number: Any = member
    if count and isinstance(member, str) and member == "best" and config.get("best") is not None:
        lines = [line for line in read_history(path) if line["split"] == "test" and line["step"] == step]
        check(bool(lines), "load_variables", "checkpoint", "of a step with an evaluation, for member='best'", step)
        name = config["best"].removeprefix("-")
        found = best_member([line[name] for line in lines], config["best"], [True] * len(lines))
        number = found if found is None else lines[found]["member"]
    expected = f"'best' or one of the {count} members, from 0, of {str(path)!r}"
    check(is_integer_at_least(number, 0) and number < count, "load_variables", "member", expected, repr(member))
    return number


def _steps(checkpoints: Path) -> set[int]:
    return {int(entry.name) for entry in checkpoints.glob("*") if entry.name.isdigit()}


def _read(function: str, checkpoints: Path, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    import orbax.checkpoint as ocp

    path = checkpoints / str(step)
    try:
        with _first_error_only(path):
            with ocp.StandardCheckpointer() as checkpointer:
                packed = checkpointer.restore(path / "state")
            with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
                progress = checkpointer.restore(path / "progress")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = f"{function}: checkpoint {path} cannot be read ({reason}); remove it to go on from an earlier one."
        raise ValueError(text) from error
    return packed, progress


@contextlib.contextmanager
def _first_error_only(path: Path) -> Iterator[None]:
    """Keeps to itself what is printed after the first array of a checkpoint that cannot be read.

    Orbax closes its event loop on an error while TensorStore's threads still read other arrays. Each of them then
    prints a traceback about the closed loop, or asyncio logs that nobody asks for its error. As they end at any later
    time, both stay filtered after an error.
    """
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")

    def without_late_reads(unraisable: Any) -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed" and unraisable.object is None):
            hook(unraisable)

    def of_another_place(record: logging.LogRecord) -> bool:
        return not (record.exc_info and str(path) in str(record.exc_info[1]))

    sys.unraisablehook = without_late_reads
    log.addFilter(of_another_place)
    yield
    log.removeFilter(of_another_place)
    sys.unraisablehook = hook


def _pack(state: State) -> dict[str, Any]:
    """Turns a state into nested dicts of NumPy arrays: keys as their data, no empty arrays (Orbax refuses them)."""

    def array(leaf: Any) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)

    def nested(tree: PyTree) -> Any:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(tree)
        return traverse_util.unflatten_dict({path: array(leaf) for path, leaf in leaves.items() if leaf.size})

    optimizer = {f"{i:05d}": array(leaf) for i, leaf in enumerate(jax.tree.leaves(state.opt_state)) if leaf.size}
    packed = {"step": array(state.step), "key": array(state.key), "params": nested(state.params)}
    packed |= {"opt_state": optimizer, "model_state": nested(state.model_state)}
    return packed if state.ema is None else {**packed, "ema": nested(state.ema)}


def _unpack(packed: Mapping[str, Any], like: State) -> State:
    def leaf_like(value: Any, leaf: Any) -> Any:
        if is_key(leaf):
            return placed_as(jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf)), leaf)
        return placed_as(jnp.asarray(value, dtype=leaf.dtype), leaf) if leaf.size else leaf

    def placed_as(value: Any, leaf: Any) -> Any:
        """Spreads over devices what was spread."""
        return jax.device_put(value, leaf.sharding) if len(leaf.sharding.device_set) > 1 else value

    def nested(tree: PyTree, values: PyTree) -> Any:
        found = traverse_util.flatten_dict(values)
        return jax.tree_util.tree_map_with_path(
            lambda path, leaf: leaf_like(found.get(tuple(entry.key for entry in path)), leaf), tree
        )

    leaves, structure = jax.tree.flatten(like.opt_state)
    optimizer = packed.get("opt_state", {})
    return State(
        step=leaf_like(packed["step"], like.step),
        key=leaf_like(packed["key"], like.key),
        params=nested(like.params, packed["params"]),
        model_state=nested(like.model_state, packed.get("model_state", {})),
        opt_state=structure.unflatten([leaf_like(optimizer.get(f"{i:05d}"), leaf) for i, leaf in enumerate(leaves)]),
        ema=None if like.ema is None else nested(like.ema, packed["ema"]),
    )


def tree_text(state: State) -> dict[str, str]:
    """Describes every leaf of a state, path -> dtype and shape."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): shape_text(leaf) for path, leaf in leaves}


def key_text(key: Any) -> str:
    """Gives kind and data of a key, or of a stack of them."""
    return f"{jax.random.key_impl(key)} {np.asarray(jax.random.key_data(key)).tolist()}"


def _read_config(function: str, path: Path) -> dict[str, Any]:
    try:
        config = json.loads((path / "run.json").read_text())
        version = config["format"]
    except (ValueError, KeyError, TypeError):
        raise ValueError(f"{function}: run must be a run folder, got {path} with an unreadable run.json.") from None
    expected = f"a run folder of format {FORMAT}"
    check(version == FORMAT, function, "run", expected, f"{path} of format {version!r}, written by another version")
    return config


def _same_run(function: str, path: Path, config: Mapping[str, Any]) -> None:
    """Refuses to continue a run that was made differently, and names the first difference."""
    stored = _read_config(function, path)
    for name, value in config.items():
        before = stored.get(name)
        if before == value:
            continue
        if name == "tree" and isinstance(before, dict):
            place = next(p for p in [*value, *before] if before.get(p) != value.get(p))
            text = f"{place} is {before.get(place, 'absent')} there and {value.get(place, 'absent')} here"
        else:
            text = f"{name} is {before!r} there and {value!r} here"
        raise ValueError(f"{function}: run {path} was made with another configuration: {text}. Take another folder.")
