"""Checkpoints of a run: written so that a killed run finds its way back, and read again.

``checkpoints/N/`` is an Orbax checkpoint after step N: ``state/`` (arrays) and ``progress/`` (JSON, with a checksum of
every array and one of itself). It appears under its number in one rename, when it is complete. One that is no longer
kept is first renamed into ``checkpoints/trash`` and removed from there: a number never names half a checkpoint. One
that turns out to be damaged is moved to ``damaged/N`` when the run is continued from the one before.
"""

import contextlib
import errno
import json
import logging
import os
import shutil
import sys
import warnings
import zlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import traverse_util

from jaxcnn._check import shape_text
from jaxcnn._typing import AnyArray, PyTree
from jaxcnn.train.optimizers import EvalParams, find_eval_params
from jaxcnn.train.state import State, evaluation_variables, is_key

__all__ = [
    "Checkpointer",
    "Stored",
    "checkpoint_steps",
    "key_text",
    "read_checkpoint",
    "read_last_checkpoint",
    "tree_text",
]

TRASH = "trash"


class Checkpointer:
    """Writes and restores the checkpoints of one run.

    Attributes:
        saved: Step of the checkpoint that was written or restored last, None before.
    """

    def __init__(self, function: str, folder: Path, keep: int, eval_params: EvalParams | None = None):
        """Takes the place of the checkpoints; nothing is written before the first ``save``.

        Args:
            function: Name for messages.
            folder: The run folder.
            keep: How many of the last checkpoints to keep besides the best.
            eval_params: Chooses the parameters to evaluate with, see ``fit``.
        """
        self._function, self._folder, self._keep = function, folder, keep
        self._eval_params = eval_params
        self._best = _KeepStep()
        self._damaged: list[int] = []
        self._manager: Any = None
        self.saved: int | None = None

    def _open(self) -> Any:
        import orbax.checkpoint as ocp

        checkpoints = self._folder / "checkpoints"
        checkpoints.mkdir(exist_ok=True)
        for step in self._damaged:
            place = self._folder / "damaged" / str(step)
            shutil.rmtree(place, ignore_errors=True)
            place.parent.mkdir(exist_ok=True)
            (checkpoints / str(step)).rename(place)
        self._remove_leftovers()
        policies = [ocp.checkpoint_managers.LatestN(self._keep), self._best]
        options = ocp.CheckpointManagerOptions(
            enable_async_checkpointing=False,
            preservation_policy=ocp.checkpoint_managers.AnyPreservationPolicy(policies),
            todelete_subdir=TRASH,
        )
        return ocp.CheckpointManager(checkpoints, options=options)

    def _remove_leftovers(self) -> None:
        """Removes what is no complete checkpoint, such as one whose writing was interrupted."""
        for leftover in (self._folder / "checkpoints").iterdir():
            if not leftover.name.isdigit():
                shutil.rmtree(leftover, ignore_errors=True)

    def saved_path(self) -> Path | None:
        """Returns the folder of the checkpoint that was written or restored last, None before."""
        return None if self.saved is None else self._folder / "checkpoints" / str(self.saved)

    def save(self, state: State, progress: Mapping[str, Any], best_step: int | None) -> None:
        """Writes a checkpoint and returns when it is on the disk; then drops those that are not kept.

        Raises:
            OSError: If it cannot be written, as on a full disk; the checkpoints before are still there.
        """
        import orbax.checkpoint as ocp

        packed = _pack(state, self._eval_params)
        step = int(np.max(packed["step"]))
        self._best.step = best_step
        try:
            with _first_error_only(self._folder):
                self._manager = self._manager or self._open()
                content = _seal(progress, packed)
                arguments = ocp.args.Composite(state=ocp.args.StandardSave(packed), progress=ocp.args.JsonSave(content))
                self._manager.save(step, args=arguments, force=True)
                self._manager.wait_until_finished()
        except Exception as error:  # of many kinds: Orbax and TensorStore have their own
            with contextlib.suppress(OSError):
                self._remove_leftovers()
            good = self.saved_path()
            last = "there is none before it" if good is None else f"the one before it, {good}, is intact"
            place = self._folder / "checkpoints" / str(step)
            text = f"{self._function}: checkpoint {place} cannot be written ({_reason(error)}); {last}."
            raise OSError(text) from error
        self.saved = step
        shutil.rmtree(self._folder / "checkpoints" / TRASH, ignore_errors=True)

    def restore_last(self, like: State) -> tuple[State, dict[str, Any], int] | None:
        """Reads the last intact checkpoint into a state of the structure of ``like``, and warns of damaged ones.

        Returns:
            The state, the progress stored beside it, and its step; None where there is no checkpoint.

        Raises:
            ValueError: If all checkpoints are damaged.
        """
        found = read_last_checkpoint(self._function, self._folder)
        if found is None:
            return None
        self.saved = found.step
        self._damaged = sorted(step for step in checkpoint_steps(self._folder) if step > found.step)
        return _unpack(found.packed, like), found.progress, found.step

    def close(self) -> None:
        """Ends the checkpoint manager."""
        if self._manager is not None:
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


class Stored(NamedTuple):
    """A checkpoint as it was read: its step, its arrays as nested dicts, and its progress."""

    step: int
    packed: dict[str, Any]
    progress: dict[str, Any]


def read_checkpoint(function: str, folder: Path, step: int) -> Stored:
    """Reads a checkpoint and compares its checksums.

    Raises:
        ValueError: If it is damaged or a part of it is missing.
    """
    import orbax.checkpoint as ocp

    path = folder / "checkpoints" / str(step)
    try:
        with _first_error_only(path):
            with ocp.StandardCheckpointer() as checkpointer:
                packed = checkpointer.restore(path / "state")
            with ocp.Checkpointer(ocp.JsonCheckpointHandler()) as checkpointer:
                content = checkpointer.restore(path / "progress")
        progress = _unseal(content, packed)
    except Exception as error:  # of nearly any kind, by what the damage makes of the files
        raise ValueError(f"{function}: checkpoint {path} cannot be read ({_reason(error)}).") from error
    return Stored(step, packed, progress)


def read_last_checkpoint(function: str, folder: Path) -> Stored | None:
    """Reads the last checkpoint that is intact, and warns of those after it; None where there is none at all.

    Raises:
        ValueError: If all are damaged.
    """
    problems = []
    for step in sorted(checkpoint_steps(folder), reverse=True):
        try:
            found = read_checkpoint(function, folder, step)
        except ValueError as error:
            problems.append(str(error).removesuffix("."))
            continue
        if problems:
            warnings.warn(f"{'; '.join(problems)}; the one after step {step} is used.", RuntimeWarning, stacklevel=5)
        return found
    if problems:
        raise ValueError(f"{problems[0]}, and there is no other one; take another folder to start anew.")
    return None


def _reason(error: BaseException) -> str:
    """Returns the first line of an error, or the text of the system's error behind it."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.strerror:
            return cause.strerror
        cause = cause.__cause__ or cause.__context__
    text = f"no {error}" if isinstance(error, KeyError) else str(error).strip()
    for code in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES):
        if os.strerror(code) in text:
            return os.strerror(code)
    return text.splitlines()[0][:300] if text else type(error).__name__


def _checksums(packed: Mapping[str, Any]) -> dict[str, str]:
    """Computes a checksum of every array, dtype and shape included."""
    leaves: dict[Any, Any] = traverse_util.flatten_dict(dict(packed))
    found = {}
    for path, leaf in leaves.items():
        array = np.ascontiguousarray(leaf)
        found["/".join(map(str, path))] = (
            f"{leaf.dtype}{leaf.shape} {zlib.crc32(array.reshape(-1).view(np.uint8).data):08x}"
        )
    return found


def _seal(progress: Mapping[str, Any], packed: Mapping[str, Any]) -> dict[str, Any]:
    """Joins progress with the checksums of the arrays and one of itself."""
    content = {"progress": dict(progress), "arrays": _checksums(packed)}
    return {**content, "checksum": _text_checksum(content)}


def _unseal(content: Any, packed: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the progress, or refuses it or the arrays if they are not as they were written."""
    if not isinstance(content, dict) or set(content) != {"progress", "arrays", "checksum"}:
        raise ValueError("its progress is incomplete")
    if content.pop("checksum") != _text_checksum(content):
        raise ValueError("its progress has another checksum than when it was written")
    found, expected = _checksums(packed), content["arrays"]
    for path in sorted({*found, *expected}):
        if found.get(path) != expected.get(path):
            what = "is missing" if path not in found else "has another checksum than when it was written"
            raise ValueError(f"array {path} {what}")
    return content["progress"]


def _text_checksum(content: Any) -> str:
    return f"{zlib.crc32(json.dumps(content, sort_keys=True).encode()):08x}"


@contextlib.contextmanager
def _first_error_only(path: Path) -> Iterator[None]:
    """Suppresses what is printed after the first array of a checkpoint that cannot be read or written.

    Orbax closes its event loop on an error while TensorStore's threads still work on other arrays. Each of them then
    prints a traceback about the closed loop, or asyncio logs that nobody asks for its error; Orbax logs the error too.
    As they end at any later time, all stay filtered after an error.
    """
    hook, logs = sys.unraisablehook, [logging.getLogger(name) for name in ("asyncio", "absl")]

    def without_late_reads(unraisable: "sys.UnraisableHookArgs") -> None:
        error = unraisable.exc_value
        if not (isinstance(error, RuntimeError) and str(error) == "Event loop is closed" and unraisable.object is None):
            hook(unraisable)

    def is_about_another_path(record: logging.LogRecord) -> bool:
        return not (record.exc_info and str(path) in str(record.exc_info[1]))

    sys.unraisablehook = without_late_reads
    for log in logs:
        log.addFilter(is_about_another_path)
    yield
    for log in logs:
        log.removeFilter(is_about_another_path)
    sys.unraisablehook = hook


def _pack(state: State, eval_params: EvalParams | None) -> dict[str, Any]:
    """Turns a state into nested dicts of NumPy arrays: keys as their data, no empty arrays (Orbax refuses them)."""

    def array(leaf: AnyArray) -> np.ndarray:
        return np.asarray(jax.random.key_data(leaf) if is_key(leaf) else leaf)

    def nested(tree: PyTree) -> PyTree:
        leaves: dict[Any, Any] = traverse_util.flatten_dict(tree)
        return traverse_util.unflatten_dict({path: array(leaf) for path, leaf in leaves.items() if leaf.size})

    optimizer = {f"{i:05d}": array(leaf) for i, leaf in enumerate(jax.tree.leaves(state.opt_state)) if leaf.size}
    packed = {"step": array(state.step), "key": array(state.key), "params": nested(state.params)}
    packed |= {"opt_state": optimizer, "model_state": nested(state.model_state)}
    if state.ema is not None:
        packed["ema"] = nested(state.ema)
    if state.eval_state is not None:
        packed["eval_state"] = nested(state.eval_state)
    if eval_params is not None or find_eval_params(state.opt_state, state.params) is not None:
        packed["eval_params"] = nested(evaluation_variables(state, eval_params)["params"])
    return packed


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
        eval_state=nested(like.model_state, packed["eval_state"]) if "eval_state" in packed else None,
    )


def tree_text(state: State) -> dict[str, str]:
    """Describes every leaf of a state, path -> dtype and shape."""
    leaves, _ = jax.tree_util.tree_flatten_with_path(state)
    return {jax.tree_util.keystr(path, simple=True, separator="/"): shape_text(leaf) for path, leaf in leaves}


def key_text(key: jax.Array) -> str:
    """Returns kind and data of a key, or of a stack of them, as text."""
    return f"{jax.random.key_impl(key)} {np.asarray(jax.random.key_data(key)).tolist()}"
