"""Data sets prepared by TensorFlow Datasets, read without TensorFlow."""

import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcnn._check import check
from jaxcnn.data.random_access import RandomAccess

__all__ = ["PreparedSource", "tfds_source"]

_NAME = re.compile(r"(?P<name>\w+)(/(?P<config>[^:/]+))?(:(?P<version>\d+\.\d+\.\d+))?")


class PreparedSource:
    """One split of a prepared data set; ``tfds_source`` makes it.

    Item ``i`` is ``{"image": ..., "label": ...}``; an image is uint8 (h, w, c), a label int32.

    Attributes:
        classes: Names of the classes, or None where the data set has none.

    Example:
        >>> import numpy as np
        >>> from jaxcnn import data
        >>> examples = [{"picture": np.zeros((4, 4, 3), np.uint8), "class": 5}]
        >>> source = data.PreparedSource(examples, image="picture", label="class", classes=None)
        >>> source[0]["image"].shape, int(source[0]["label"])
        ((4, 4, 3), 5)
    """

    def __init__(
        self,
        source: RandomAccess,
        *,
        image: str,
        label: str,
        classes: tuple[str, ...] | None,
        origin: Mapping[str, str] | None = None,
    ) -> None:
        """Wraps a random-access source of dictionaries; ``origin`` names it for ``describe``."""
        self.classes = classes
        self._origin = dict(origin or {})
        self._source = source
        self._names = (image, label)

    def __len__(self) -> int:
        """Returns the number of examples."""
        return len(self._source)

    def describe(self) -> dict[str, Any]:
        """Returns what a run folder keeps of this data: where it is, split, number of examples and classes."""
        classes = None if self.classes is None else list(self.classes)
        preprocessing = {"size": None, "value_range": [0, 255]}
        found = {"kind": "tfds", **self._origin, "examples": len(self), "preprocessing": preprocessing}
        return found if classes is None else {**found, "classes": classes}

    def fingerprint(self) -> dict[str, Any]:
        """Returns what identifies this data when a run is continued: name, version, split and number of examples."""
        origin = {name: value for name, value in self._origin.items() if name != "path"}
        version = os.path.basename(self._origin.get("path", ""))
        return {"content": {**origin, "version": version, "examples": len(self), "features": list(self._names)}}

    def __getitem__(self, index: int) -> dict[str, Any]:
        """Reads example ``index``."""
        return self._pick(self._source[index])

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Reads several examples with one request, as grain asks for them."""
        many = getattr(self._source, "__getitems__", None)
        examples = many(list(indices)) if many else [self._source[i] for i in indices]
        return [self._pick(example) for example in examples]

    def _pick(self, example: Mapping[str, Any]) -> dict[str, Any]:
        image, label = self._names
        value = np.asarray(example[label])
        return {
            "image": np.asarray(example[image]),
            "label": value.astype(np.int32) if np.issubdtype(value.dtype, np.integer) else value,
        }


def tfds_source(
    name: str,
    *,
    split: str,
    data_dir: str | os.PathLike[str] | None = None,
    image: str = "image",
    label: str = "label",
) -> PreparedSource:
    """Opens a data set that TensorFlow Datasets has already prepared.

    Reads what ``tfds.data_source`` reads, by random access to array_record files, without TensorFlow.
    Only local files are read: nothing is downloaded or prepared, the network is not used.

    Args:
        name: ``"name"``, ``"name/config"``, either with ``":1.2.3"`` for one version; otherwise the newest
            one found.
        split: ``"train"``, ``"test[:100]"`` and the like.
        data_dir: Folder of the prepared data sets; None stands for the environment's
            ``TFDS_DATA_DIR``, or ``~/tensorflow_datasets``.
        image: Name of the feature returned as ``"image"``.
        label: Name of the feature returned as ``"label"``.

    Returns:
        A source with ``len``, items by number and ``classes``.

    Raises:
        FileNotFoundError: If the data set has not been prepared in that folder.
        ValueError: If the split or a feature does not exist, or the files are damaged or allow no random access.

    Example:
        >>> from jaxcnn import data
        >>> import tempfile
        >>> data.tfds_source("mnist", split="train", data_dir=tempfile.mkdtemp())
        Traceback (most recent call last):
        FileNotFoundError: tfds_source: name must be a data set prepared in ..., got 'mnist'. ...
    """
    folder = _find_prepared(name, _root(data_dir))
    import tensorflow_datasets as tfds

    try:
        builder: Any = tfds.builder_from_directory(folder)
        known, features = tuple(builder.info.splits), tuple(sorted(builder.info.features or ()))
    except Exception as error:  # on damaged files: raised by protobuf, JSON or a failed lookup in them
        reason = " ".join(f"{type(error).__name__}: {error}".split())
        expected = "a data set with intact features.json and dataset_info.json"
        raise ValueError(f"tfds_source: name must be {expected}, got {str(folder)!r} ({reason}).") from error
    base = re.match(r"\w*", split)
    check(base is not None and base[0] in known, "tfds_source", "split", f"one of {known!r} or a part", repr(split))
    for argument, feature in (("image", image), ("label", label)):
        check(feature in features, "tfds_source", argument, f"one of the features {features!r}", repr(feature))
    try:
        source = builder.as_data_source(split=split)
    except NotImplementedError as error:
        advice = f"prepared with file_format='array_record', which allows random access, got {str(folder)!r}"
        raise ValueError(f"tfds_source: name must be {advice}.") from error
    except (KeyError, ValueError) as error:
        raise ValueError(f"tfds_source: split must be made of {known!r}, got {split!r} ({error}).") from error
    names = getattr(builder.info.features[label], "names", None)
    classes = tuple(names) if names else None
    origin = {"name": name, "split": split, "path": str(folder.absolute())}
    return PreparedSource(source, image=image, label=label, classes=classes, origin=origin)


def _root(data_dir: str | os.PathLike[str] | None) -> Path:
    if data_dir is None:
        data_dir = os.environ.get("TFDS_DATA_DIR") or os.path.join("~", "tensorflow_datasets")
    return Path(data_dir).expanduser()


def _find_prepared(name: str, root: Path) -> Path:
    """Returns the folder of the newest version, or of the one asked for."""
    parts = _NAME.fullmatch(name) or {}
    check(bool(parts), "tfds_source", "name", 'of the form "name", "name/config" or "name:1.2.3"', repr(name))
    base = root / parts["name"]
    folder = base / parts["config"] if parts["config"] else base
    found = {tuple(map(int, p.parent.name.split("."))): p.parent for p in folder.glob("*.*.*/features.json")}
    if parts["version"]:
        wanted = tuple(map(int, parts["version"].split(".")))
        found = {version: path for version, path in found.items() if version == wanted}
    if found:
        return found[max(found)]
    configs = sorted({p.parent.parent.name for p in base.glob("*/*.*.*/features.json")})
    if configs and not parts["config"]:
        check(False, "tfds_source", "name", f"given with one of the configs {tuple(configs)!r}", repr(name))
    raise FileNotFoundError(
        f"tfds_source: name must be a data set prepared in {str(root)!r}, got {name!r}. Nothing is downloaded here: "
        f"prepare it once, where tensorflow is installed, with tfds.builder({name!r}, data_dir={str(root)!r}, "
        "file_format='array_record').download_and_prepare(), or name another folder by data_dir."
    )
