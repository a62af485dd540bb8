"""Checkpoints of a run: written so that a killed run finds its way back, and read again.

``checkpoints/N/`` is an Orbax checkpoint after step N: ``state/`` (arrays) and ``progress/`` (JSON). It appears under
its number in one rename, when it is complete. One that is no longer kept is first renamed into ``checkpoints/trash``
and removed from there: a number never names half a checkpoint.
"""

import contextlib
import logging
import shutil
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcnn._check import shape_text
from jaxcnn._typing import AnyArray, PyTree
from jaxcnn.train.state import State, is_key

__all__ = ["Checkpointer", "checkpoint_steps", "key_text", "read_checkpoint", "tree_text"]

TRASH = "trash"


class Checkpointer:
    """Writes and restores the checkpoints of one run.

    Attributes:
        saved: Step of the checkpoint that was written or restored last, None before.
    """

    def __init__(self, function: str, folder: Path, keep: int):
        """Opens the checkpoints of a run folder.

        Args:
            function: Name for messages.
            folder: The run folder.
            keep: How many of the last checkpoints to keep besides the best.
        """
        self._function, self._checkpoints = function, folder / "checkpoints"
        self._checkpoints.mkdir(exist_ok=True)
        self._best = _KeepStep()
        self._manager = self._open(keep)
        self.saved: int | None = None

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
        """Returns the step of the last checkpoint, None where there is none."""
        return max(checkpoint_steps(self._checkpoints.parent), default=None)

    def saved_path(self) -> Path | None:
        """Returns the folder of the checkpoint that was written or restored last, None before."""
        return None if self.saved is None else self._checkpoints / str(self.saved)

    def save(self, state: State, progress: Mapping[str, Any], best_step: int | None) -> None:
        """Writes a checkpoint and returns when it is on the disk; then drops those that are not kept."""
        import orbax.checkpoint as ocp

        packed = _pack(state)
        self._best.step = best_step
        arguments = ocp.args.Composite(state=ocp.args.StandardSave(packed), progress=ocp.args.JsonSave(dict(progress)))
        self.saved = int(np.max(packed["step"]))
        self._manager.save(self.saved, args=arguments, force=True)
        self._manager.wait_until_finished()
        shutil.rmtree(self._checkpoints / TRASH, ignore_errors=True)

    def restore(self, step: int, like: State) -> tuple[State, dict[str, Any]]:
        """Reads a checkpoint into a state of the structure of ``like``, with the progress stored beside it."""
        packed, progress = read_checkpoint(self._function, self._checkpoints.parent, step)
        self.saved = step
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


def checkpoint_steps(folder: Path) -> set[int]:
    """Returns the steps of the complete checkpoints of a run folder."""
    return {int(entry.name) for entry in folder.glob("checkpoints/*") if entry.name.isdigit()}


def read_checkpoint(function: str, folder: Path, step: int) -> tuple[dict[str, Any], dict[str, Any]]:
    """Reads the arrays of a checkpoint, as nested dicts, and its progress."""
    import orbax.checkpoint as ocp

    path = folder / "checkpoints" / str(step)
    try:
        with _first_error_only(path):
            with ocp.StandardCheckpointer() as checkpointer:
                packed = checkpointer.restore(path / "state")
            with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
                progress = checkpointer.restore(path / "progress")
    except (OSError, ValueError, KeyError) as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        text = f"{function}: checkpoint {path} cannot be read ({reason}); remove it to continue from an earlier one."
        raise ValueError(text) from error
    return packed, progress


@contextlib.contextmanager
def _first_error_only(path: Path) -> Iterator[None]:
    """Suppresses what is printed after the first array of a checkpoint that cannot be read.

    Orbax closes its event loop on an error while TensorStore's threads still read other arrays. Each of them then
    prints a traceback about the closed loop, or asyncio logs that nobody asks for its error. As they end at any later
    time, both stay filtered after an error.
    """
    hook, log = sys.unraisablehook, logging.getLogger("asyncio")

    def without_late_reads(unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed" and unraisable.object is None):
            hook(unraisable)

    def is_about_another_path(record: logging.LogRecord) -> bool:
        return not (record.exc_info and str(path) in str(record.exc_info[1]))

    sys.unraisablehook = without_late_reads
    log.addFilter(is_about_another_path)
    yield
    log.removeFilter(is_about_another_path)
    sys.unraisablehook = hook


def _pack(state: State) -> dict[str, Any]:
    """Turns a state into nested dicts of NumPy arrays: keys as their data, no empty arrays (Orbax refuses them)."""

    def array(leaf: AnyArray) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)

    def nested(tree: PyTree) -> PyTree:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(tree)
        return traverse_util.unflatten_dict({path: array(leaf) for path, leaf in leaves.items() if leaf.size})

    optimizer = {f"{i:05d}": array(leaf) for i, leaf in enumerate(jax.tree.leaves(state.opt_state)) if leaf.size}
    packed = {"step": array(state.step), "key": array(state.key), "params": nested(state.params)}
    packed |= {"opt_state": optimizer, "model_state": nested(state.model_state)}
    return packed if state.ema is None else {**packed, "ema": nested(state.ema)}


def _unpack(packed: Mapping[str, Any], like: State) -> State:
    def leaf_like(value: np.ndarray | None, leaf: jax.Array) -> jax.Array:
        if not leaf.size or value is None:
            return leaf
        if is_key(leaf):
            return shard_like(jax.random.wrap_key_data(jnp.asarray(value), impl=jax.random.key_impl(leaf)), leaf)
        return shard_like(jnp.asarray(value, dtype=leaf.dtype), leaf)

    def shard_like(value: jax.Array, leaf: jax.Array) -> jax.Array:
        return jax.device_put(value, leaf.sharding) if len(leaf.sharding.device_set) > 1 else value

    def nested(tree: PyTree, values: Mapping[str, Any]) -> PyTree:
        found: dict[Any, Any] = traverse_util.flatten_dict(values)
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


def key_text(key: jax.Array) -> str:
    """Returns kind and data of a key, or of a stack of them, as text."""
    return f"{jax.random.key_impl(key)} {np.asarray(jax.random.key_data(key)).tolist()}"
