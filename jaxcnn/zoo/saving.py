"""Saves weights as safetensors with their provenance, or as npz, and converts files of other formats."""

import contextlib
import hashlib
import json
import os
import tempfile
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, Any

import jax
import jax.numpy as jnp
import numpy as np

import jaxcnn
from jaxcnn._check import check, shape_text
from jaxcnn._typing import Variables
from jaxcnn.zoo.checkpoint import MAX_BYTES, Checkpoint
from jaxcnn.zoo.formats.safetensors_file import DTYPES_BY_CODE, METADATA_KEY, hash_tensors
from jaxcnn.zoo.reading import read

__all__ = ["convert", "save"]

_CODES_BY_DTYPE = {dtype: code for code, dtype in DTYPES_BY_CODE.items()}
_RESERVED = "__metadata__"

SAFETENSORS, NPZ = ".safetensors", ".npz"


def save(variables: Variables, path: str | os.PathLike[str], *, provenance: Mapping[str, Any] | None = None) -> None:
    """Writes variables to a safetensors or npz file, completely or not at all.

    Convention: The suffix decides: ``.npz`` is NumPy's format, ``.safetensors`` or none is safetensors, any other is
    refused. The names of nested variables are their keys joined by ``/``. The metadata of a safetensors file holds, as
    JSON under ``"jaxcnn"``, the version of this package, the SHA-256 of names, dtypes, shapes and bytes of all tensors,
    which ``read`` verifies, and ``provenance``. An npz file holds the tensors alone.

    Args:
        variables: Nested Flax variables, or a flat mapping of names, which may contain ``/``, to arrays.
        path: The file; replaced if it exists.
        provenance: Where the tensors come from: anything that JSON can hold. ``"layouts"``, ``"notes"`` and
            ``"framework"`` in it become metadata of the checkpoint that ``read`` returns.

    Raises:
        ValueError: For leaves that are not arrays, dtypes that the format does not have, nested keys that contain
            ``/``, a provenance that JSON cannot hold or that is meant for an npz file, and a path with another suffix
            or whose folder does not exist.

    Example:
        >>> import os, tempfile
        >>> import jax.numpy as jnp
        >>> from jaxcnn.zoo import read, save
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     path = os.path.join(folder, "weights.safetensors")
        ...     save({"params": {"conv": {"kernel": jnp.ones((3, 3, 1, 8))}}}, path, provenance={"seed": 0})
        ...     checkpoint = read(path)
        >>> list(checkpoint.tensors), checkpoint.metadata["provenance"]
        (['params/conv/kernel'], {'seed': 0})
    """
    check(isinstance(variables, Mapping), "save", "variables", "a mapping", type(variables).__name__)
    place = _check_target("save", "path", path)
    if place.suffix.lower() == NPZ:
        check(provenance is None, "save", "path", "a .safetensors file, to hold a provenance", repr(os.fspath(path)))
    _save(variables, place, provenance)


def _save(variables: Variables, place: Path, provenance: Mapping[str, Any] | None) -> None:
    nested = any(isinstance(value, Mapping) for value in variables.values())
    tensors = _flatten_variables("save", variables, "", nested)
    if place.suffix.lower() == NPZ:
        _write_npz(place, tensors)
        return
    try:
        text = json.dumps(dict(provenance or {}))
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"save: provenance must be what JSON can hold, got {error}.") from None
    own = {"version": jaxcnn.__version__, "sha256": hash_tensors(tensors), "provenance": json.loads(text)}
    _write_safetensors(place, tensors, {METADATA_KEY: json.dumps(own)})


def convert(
    source: str | os.PathLike[str], target: str | os.PathLike[str], *, max_bytes: int = MAX_BYTES
) -> Checkpoint:
    """Reads a weight file of any known format and saves its tensors as safetensors or npz.

    Convention: The target's suffix decides, as in ``save``. Kernels are as ``read`` returns them. In a safetensors file
    the source's order of axes stays in ``"layouts"``, and whatever JSON cannot hold of its metadata becomes text; an
    npz file holds the tensors alone. A graph is not saved.

    Args:
        source: The file, folder or prefix to read.
        target: The file to write.
        max_bytes: What all tensors together may take.

    Returns:
        What was read from ``source``. ``read(target)`` returns the same tensors, layouts and notes, and under
        ``"provenance"`` all metadata with the source's name and, of a single file, its SHA-256.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it cannot be read (``FormatError``), if its tensors have dtypes that the format does not have, or
            if the target has another suffix or is in a folder that does not exist.

    Example:
        >>> import os, tempfile
        >>> import numpy as np
        >>> from jaxcnn.zoo import convert, read
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     source, target = os.path.join(folder, "a.npy"), os.path.join(folder, "a.safetensors")
        ...     np.save(source, np.arange(3))
        ...     _ = convert(source, target)
        ...     provenance = read(target).metadata["provenance"]
        >>> provenance["source"], provenance["format"], len(provenance["sha256"])
        ('a.npy', 'numpy', 64)
    """
    place = _check_target("convert", "target", target)
    checkpoint = read(source, max_bytes=max_bytes)
    origin: dict[str, Any] = {"source": Path(source).name}
    if Path(source).is_file():
        with open(source, "rb") as file:
            origin["sha256"] = hashlib.file_digest(file, "sha256").hexdigest()
    metadata = {name: _to_json(value) for name, value in checkpoint.metadata.items()}
    _save(checkpoint.tensors, place, {**metadata, **origin})
    return checkpoint


def _check_target(function: str, argument: str, path: str | os.PathLike[str]) -> Path:
    """Refuses a path that cannot be written, or that has the suffix of a format that is not written."""
    place = Path(path)
    good = place.parent.is_dir() and not place.is_dir()
    check(good, function, argument, "a file in a folder that exists", repr(os.fspath(path)))
    known = place.suffix.lower() in ("", SAFETENSORS, NPZ)
    check(known, function, argument, f"a file that ends in {SAFETENSORS} or {NPZ}", repr(os.fspath(path)))
    return place


def _to_json(value: object) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _to_json(item) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_to_json(item) for item in value]
    if isinstance(value, np.ndarray | np.generic):
        return _to_json(value.tolist())
    return value if value is None or isinstance(value, bool | int | float | str) else str(value)


def _flatten_variables(
    function: str, variables: Mapping[Any, object], above: str, nested: bool
) -> dict[str, np.ndarray]:
    """Joins nested keys and copies the arrays to the host."""
    tensors: dict[str, np.ndarray] = {}
    for key, value in variables.items():
        good = isinstance(key, str) and bool(key) and not (nested and "/" in key)
        check(good, function, "variables", "keyed by names, without '/' where nested", f"{above}{key!r}")
        name = above + key
        check(name != _RESERVED, function, "variables", f"without {_RESERVED!r}, which the format reserves", repr(name))
        if isinstance(value, Mapping):
            tensors |= _flatten_variables(function, value, f"{name}/", nested)
            continue
        is_array = isinstance(value, np.ndarray | np.generic) or (
            isinstance(value, jax.Array) and not jnp.issubdtype(value.dtype, jax.dtypes.prng_key)
        )
        check(is_array, function, "variables", "a tree of arrays", f"{type(value).__name__} at {name!r}")
        array = np.asarray(value)
        array = array.astype(array.dtype.newbyteorder("="), copy=False)
        expected = f"of dtypes that safetensors has ({', '.join(dtype.name for dtype in _CODES_BY_DTYPE)})"
        check(array.dtype in _CODES_BY_DTYPE, function, "variables", expected, f"{shape_text(array)} at {name!r}")
        tensors[name] = array
    return tensors


def _write_safetensors(path: Path, tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str]) -> None:
    """Writes header and tensors, those of wide elements first so that all are aligned, then renames the file."""
    header: dict[str, Any] = {_RESERVED: dict(metadata)}
    begin = {}
    position = 0
    for name, array in sorted(tensors.items(), key=lambda item: -item[1].dtype.itemsize):
        begin[name] = position
        position += array.nbytes
    for name, array in tensors.items():
        offsets = [begin[name], begin[name] + array.nbytes]
        header[name] = {"dtype": _CODES_BY_DTYPE[array.dtype], "shape": list(array.shape), "data_offsets": offsets}
    text = json.dumps(header, ensure_ascii=False, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    with _replace(path) as file:
        file.write(len(text).to_bytes(8, "little") + text)
        for name in begin:
            file.write(np.ascontiguousarray(tensors[name]).reshape(-1).view(np.uint8).data)


def _write_npz(path: Path, tensors: Mapping[str, np.ndarray]) -> None:
    """Writes tensors as ``numpy.savez`` does, which takes names as keywords and so refuses ``file``."""
    for name, array in tensors.items():
        got = f"{shape_text(array)} at {name!r}; {SAFETENSORS} holds it"
        check(array.dtype.kind != "V", "save", "variables", "of NumPy's own dtypes in an npz file", got)
    with _replace(path) as file, zipfile.ZipFile(file, "w") as archive:
        for name, array in tensors.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as entry:
                np.lib.format.write_array(entry, np.asarray(array, order="C"), allow_pickle=False)


@contextlib.contextmanager
def _replace(path: Path) -> Iterator[IO[bytes]]:
    """Opens a temporary file, which takes the place of ``path`` if nothing fails."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name[:100]}.", dir=path.parent)
    try:
        with open(descriptor, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, 0o666 & ~_umask())
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(temporary)
        raise


def _umask() -> int:
    """Returns the mask of new files, which can only be read by setting it."""
    mask = os.umask(0o022)
    os.umask(mask)
    return mask
