"""What is written down about a run: the file ``run.json``, its format, and who may read or continue it.

Layout of the folder that ``fit`` and ``fit_ensemble`` write::

    run.json          format, versions and device; model, input, class names, pre-processing, data, training
    metrics.jsonl     one JSON object per line, see ``read_history``
    checkpoints/N/    checkpoint after step N, see ``Checkpointer``
    damaged/N/        a checkpoint that could not be read when the run was continued
    lock              which process writes to the folder

An experiment is a folder of such folders, one per arm and seed. Its ``run.json`` has the same head (format,
versions, device, start) and in place of a model ``"recipe"`` (name and configuration) and ``"runs"`` (path, arm and
seed of each).
"""

import contextlib
import dataclasses
import importlib.metadata
import json
import os
import platform
import reprlib
import time
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import jax

from jaxcnn._check import check
from jaxcnn.train.history import write_atomically
from jaxcnn.train.locking import lock_folder

__all__ = [
    "FORMAT",
    "ExperimentInfo",
    "Origin",
    "RunInfo",
    "RunReference",
    "describe_origin",
    "open_run",
    "read_run",
    "read_single_run",
    "write_experiment",
]

FORMAT = 2
"""Version of the layout of a run folder."""

LIBRARIES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "pillow")

KINDS = {str: "text", int: "an integer", list: "a list", dict: "an object"}
"""What the values of JSON are called."""

JSONDict = dict[str, Any]


@dataclasses.dataclass(frozen=True)
class Origin:
    """What made a run: versions, device, and when it was started."""

    jaxcnn: str
    python: str
    libraries: dict[str, str]
    device: str
    started: str


@dataclasses.dataclass(frozen=True)
class RunInfo:
    """What the folder of one run of ``fit`` or ``fit_ensemble`` says of it.

    Attributes:
        folder: The folder.
        origin: Versions of the libraries, device and start.
        function: ``"fit"`` or ``"fit_ensemble"``.
        members: Number of members of an ensemble, else None.
        model: Description of the Linen module, see ``load_model``.
        input: ``"shape"`` and ``"dtype"`` of one example's image.
        classes: Names of the classes, or None.
        preprocessing: What makes an input of a picture, or None.
        data: What the run was trained and tested on, or None.
        training: What must stay the same for the run to be continued.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import RunInfo, read_run
        >>> import flax.linen as nn, optax, tempfile
        >>> from jaxcnn.train import fit
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> with tempfile.TemporaryDirectory() as run:
        ...     result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), [batch], steps=2, run=run)
        ...     info = read_run(run)
        >>> isinstance(info, RunInfo), info.function, info.input
        (True, 'fit', {'shape': [3], 'dtype': 'float32'})
    """

    folder: Path
    origin: Origin
    function: str
    members: int | None
    model: JSONDict
    input: JSONDict
    classes: tuple[str, ...] | None
    preprocessing: JSONDict | None
    data: JSONDict | None
    training: JSONDict


@dataclasses.dataclass(frozen=True)
class RunReference:
    """One run of an experiment: its folder, relative to that of the experiment, its arm and its seed."""

    path: str
    arm: str
    seed: int


@dataclasses.dataclass(frozen=True)
class ExperimentInfo:
    """What the folder of an experiment, several arms and seeds of one recipe, says of it.

    Attributes:
        folder: The folder.
        origin: Versions of the libraries, device and start.
        recipe: Name of the recipe.
        config: Its configuration.
        runs: The runs it consists of, trained or not.

    Example:
        >>> from jaxcnn.train import ExperimentInfo, read_run
        >>> import tempfile
        >>> from jaxcnn.train.run_folder import RunReference, write_experiment
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     write_experiment(folder, recipe="rts_digits", config={"steps": 800}, runs=[RunReference("a/0", "a", 0)])
        ...     info = read_run(folder)
        >>> isinstance(info, ExperimentInfo), info.config, info.runs[0].arm
        (True, {'steps': 800}, 'a')
    """

    folder: Path
    origin: Origin
    recipe: str
    config: JSONDict
    runs: tuple[RunReference, ...]


def read_run(folder: str | os.PathLike[str]) -> RunInfo | ExperimentInfo:
    """Reads what a run folder says of its run, or an experiment's folder of its runs.

    Args:
        folder: Folder that ``fit``, ``fit_ensemble`` or ``jaxcnn train`` wrote.

    Returns:
        The information; of an experiment it lists the folders of its runs.

    Raises:
        ValueError: If the folder is no run folder, was written by a version with another format, or is damaged.

    Example:
        >>> import jax, jax.numpy as jnp
        >>> from jaxcnn.train import read_run
        >>> import flax.linen as nn, optax, tempfile
        >>> from jaxcnn.train import fit
        >>> batch = {"image": jnp.eye(3), "label": jnp.arange(3)}
        >>> with tempfile.TemporaryDirectory() as run:
        ...     result = fit(jax.random.key(0), nn.Dense(3), optax.sgd(1.0), [batch], steps=2, run=run, classes="abc")
        ...     info = read_run(run)
        >>> info.classes, info.model
        (('a', 'b', 'c'), {'class': 'flax.linen:Dense', 'fields': {'features': 3}})
    """
    return _parse("read_run", Path(folder).absolute())


def read_single_run(function: str, folder: str | os.PathLike[str]) -> RunInfo:
    """Reads a folder of ``fit`` or ``fit_ensemble`` and refuses an experiment's, naming the runs in it."""
    info = _parse(function, Path(folder).absolute())
    if isinstance(info, ExperimentInfo):
        found = ", ".join(run.path for run in info.runs[:3]) + (", ..." if len(info.runs) > 3 else "")
        raise ValueError(f"{function}: run must be the folder of one run, got the experiment {folder}; it has {found}.")
    return info


def describe_origin() -> JSONDict:
    """Returns the head that the ``run.json`` of runs and experiments has in common."""
    from jaxcnn import __version__

    first = jax.devices()[0]
    kind = str(first.device_kind)
    return {
        "format": FORMAT,
        "jaxcnn": __version__,
        "python": platform.python_version(),
        "libraries": {name: importlib.metadata.version(name) for name in LIBRARIES},
        "device": f"{kind}, {os.cpu_count()} cores" if first.platform == "cpu" else kind,
        "started": time.strftime("%Y-%m-%d %H:%M:%S %z"),
    }


def write_experiment(
    folder: str | os.PathLike[str], *, recipe: str, config: Mapping[str, Any], runs: Sequence[RunReference]
) -> None:
    """Writes the ``run.json`` of an experiment that is about to start."""
    content = {"recipe": {"name": recipe, "config": dict(config)}, "runs": [dataclasses.asdict(run) for run in runs]}
    _write(Path(folder), {**describe_origin(), **content})


@contextlib.contextmanager
def open_run(function: str, folder: Path, content: Mapping[str, Any], steps: int) -> Iterator[None]:
    """Makes a folder the run folder of a run, or checks that it already is, and keeps other processes out of it.

    A run that is trained to its end is only read, by as many processes as want to, also on a disk that cannot be
    written to.

    Args:
        function: Name for messages.
        folder: The folder, which need not exist.
        content: All of ``run.json`` but the head; JSON values.
        steps: Number of steps in all.

    Raises:
        ValueError: If the folder holds something else: a run of another configuration or format, or no run; or if
            another process uses it.
    """
    check(not folder.exists() or folder.is_dir(), function, "run", "a folder", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    finished = (folder / "checkpoints" / str(steps)).is_dir()
    with contextlib.nullcontext() if finished else lock_folder(function, folder):
        _claim(function, folder, json.loads(json.dumps(content)))
        yield


def _claim(function: str, folder: Path, content: JSONDict) -> None:
    origin = describe_origin()
    if not (folder / "run.json").exists():
        steps = [entry for entry in folder.glob("checkpoints/*") if entry.name.isdigit()]
        check(not steps, function, "run", "a run folder with run.json", f"{folder} with checkpoints and no run.json")
        _write(folder, {**origin, **content})
        return
    read_single_run(function, folder)
    stored = json.loads((folder / "run.json").read_text())
    versions = _version_differences(stored, origin)
    known = [name for name in ("classes", "preprocessing") if None not in (stored[name], content[name])]
    differences = []
    for name in ("function", "members", "input", "model", "training", *known):
        differences += _differences(stored[name], content[name], "" if name == "training" else name)
    # Under another version the same function may be computed in other steps.
    sure = [text for text, is_digest in differences if not (is_digest and versions)]
    if sure:
        text = f"run {folder} was made with another configuration: {sure[0]}. Take another folder."
        raise ValueError(f"{function}: {text}")
    if versions:
        text = f"{function}: run {folder} was started with {', '.join(versions)}; results may differ in the last bits."
        if differences:
            text = f"{text} {differences[0][0][0].upper()}{differences[0][0][1:]}, perhaps for that reason."
        warnings.warn(text, UserWarning, stacklevel=7)
    told = {name: content[name] for name in ("classes", "preprocessing", "data") if content[name] is not None}
    if any(stored[name] != value for name, value in told.items()):
        _write(folder, {**stored, **told})


def _version_differences(stored: JSONDict, now: JSONDict) -> list[str]:
    """Lists what the versions and the device of a run are where they are not those of this process."""
    pairs = {name: (stored.get(name), now[name]) for name in ("jaxcnn", "python", "device")}
    before = stored.get("libraries") or {}
    pairs |= {name: (before.get(name), version) for name, version in now["libraries"].items()}
    return [f"{name} {was} (here {found})" for name, (was, found) in pairs.items() if was != found]


def _differences(before: Any, now: Any, place: str) -> list[tuple[str, bool]]:
    """Describes the places where two JSON values differ, and whether only the digest of a computation does."""
    if isinstance(before, dict) and isinstance(now, dict):
        if "digest" in before and "digest" in now:
            if None in (before["digest"], now["digest"]) or before["digest"] == now["digest"]:
                return []
            names = [part.get("name") for part in (before, now)]
            if place.endswith("/first"):
                return [(f"the first batch of {place.removesuffix('/first')} is another one here", True)]
            if names[0] == names[1]:
                return [(f"{place} computes something else here", True)]
            return [(f"{place} is {names[0]} there and {names[1]} here", True)]
        parts = [
            _differences(before.get(name, "absent"), now.get(name, "absent"), f"{place}/{name}".lstrip("/"))
            for name in [*now, *(name for name in before if name not in now)]
        ]
        return [part for found in parts for part in found]
    if before == now:
        return []
    if place.endswith("/content"):
        return [(f"{place.removesuffix('/content')} are other examples here", False)]
    before, now = (
        value if value == "absent" or place.startswith("tree/") else reprlib.repr(value) for value in (before, now)
    )
    return [(f"{place} is {before} there and {now} here", False)]


def _write(folder: Path, content: Mapping[str, Any]) -> None:
    write_atomically(folder / "run.json", json.dumps(content, indent=1) + "\n")


def _parse(function: str, folder: Path) -> RunInfo | ExperimentInfo:
    path = folder / "run.json"
    if not path.is_file():
        if (folder / "config.json").is_file():
            _check_format(function, _load(function, folder / "config.json"), folder)
        check(False, function, "run", "a run folder with run.json", repr(str(folder)))
    content = _load(function, path)
    _check_format(function, content, folder)
    reader = _Reader(function, path, content)
    texts = {name: reader.get(name, str) for name in ("jaxcnn", "python", "device", "started")}
    origin = Origin(libraries=reader.get("libraries", dict), **texts)
    if "recipe" in content:
        recipe = _Reader(function, path, reader.get("recipe", dict))
        runs = tuple(_reference(function, path, entry) for entry in reader.get("runs", list))
        return ExperimentInfo(folder, origin, recipe.get("name", str), recipe.get("config", dict), runs)
    classes = reader.get("classes", list, None)
    return RunInfo(
        folder=folder,
        origin=origin,
        function=reader.get("function", str),
        members=reader.get("members", int, None),
        model=reader.get("model", dict),
        input=reader.get("input", dict),
        classes=None if classes is None else tuple(map(str, classes)),
        preprocessing=reader.get("preprocessing", dict, None),
        data=reader.get("data", dict, None),
        training=reader.get("training", dict),
    )


def _reference(function: str, path: Path, entry: object) -> RunReference:
    reader = _Reader(function, path, entry if isinstance(entry, dict) else {})
    place = reader.get("path", str)
    inside = not PurePosixPath(place).is_absolute() and ".." not in PurePosixPath(place).parts
    check(inside, function, "run", f"a folder whose {path.name} names runs below it", repr(place))
    return RunReference(place, reader.get("arm", str), reader.get("seed", int))


def _load(function: str, path: Path) -> JSONDict:
    try:
        content = json.loads(path.read_text())
    except (ValueError, RecursionError):
        content = None
    if not isinstance(content, dict) or "format" not in content:
        raise ValueError(f"{function}: run must be a run folder, got {path.parent} with a damaged {path.name}.")
    return content


def _check_format(function: str, content: Mapping[str, Any], folder: Path) -> None:
    """Refuses a folder of another format and names the version that wrote it."""
    version = content["format"]
    if version == FORMAT:
        return
    from jaxcnn import __version__

    writer = content.get("jaxcnn", "0.1.0" if version == 1 else "of an unknown version")
    text = f"{folder} was written by jaxcnn {writer} (format {version!r})"
    raise ValueError(f"{function}: {text}; this version, {__version__}, reads format {FORMAT}.")


@dataclasses.dataclass(frozen=True)
class _Reader:
    """Takes values out of a ``run.json`` and refuses those of another kind, as only a damaged file has them."""

    function: str
    path: Path
    content: JSONDict

    def get(self, name: str, *kinds: type | None) -> Any:
        """Returns a value, which must be of one of the kinds; None stands for null."""
        value = self.content.get(name, ...)
        if any(value is None if kind is None else type(value) is kind for kind in kinds):
            return value
        expected = " or ".join("null" if kind is None else KINDS[kind] for kind in kinds)
        got = "nothing" if value is ... else repr(value)
        raise ValueError(f"{self.function}: {self.path} is damaged: {name} must be {expected}, got {got}.")
