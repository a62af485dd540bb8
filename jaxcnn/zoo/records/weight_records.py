"""Known weight files of five model zoos: where they are, what input they expect, and what their sources state."""

import dataclasses
import functools
import json
import urllib.parse
from importlib import resources
from typing import Any

from jaxcnn._check import check_choice
from jaxcnn._suggest import suggest
from jaxcnn._typing import Number

__all__ = ["PADDINGS", "SOURCES", "Accuracy", "Preprocessing", "Record", "find", "record", "records", "suggest_record"]

SOURCES = ("pytorch", "tensorflow", "caffe", "matconvnet", "keras")
"""First parts of names: torchvision, TensorFlow's slim, Caffe's Model Zoo, MatConvNet, keras.applications."""

PADDINGS = (
    "symmetric",  # as many zeros before as after, as in PyTorch and Caffe
    "symmetric, pooling rounds up",  # and a last window that is incomplete counts
    "same",  # TensorFlow's: if the number of zeros is odd, one more after
    "same and valid",  # some layers have no padding
    "symmetric and same",  # the first for convolutions, the second for pooling
)
"""The values of ``Record.padding``."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How an image becomes the input of a network; None where the source does not state it.

    Convention: In this order: with ``crop_fraction`` the center of the image, that share of its height and of its
        width, is resized to ``size``; with ``resize`` the image is resized to that and its center of ``size`` is
        taken. Channels are in ``color_order``, values in ``value_range``, and the input is ``(value - mean) / std``
        per channel, so 0 and 1 mean that the network expects the values as they are.

    Attributes:
        size: Height and width of the input, in pixels.
        resize: Pixels of the shorter side, or of both sides, before the crop.
        keep_aspect: Whether ``resize`` applies to the shorter side, and the other follows.
        crop_fraction: Share of height and of width that a crop before resizing keeps.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
        antialias: Whether downsampling averages over the pixels in between.
        color_order: ``"RGB"`` or ``"BGR"``.
        value_range: The values of black and white before the mean is subtracted, (0, 1) or (0, 255).
        mean: One number per channel, or one for all, in ``color_order``, in units of ``value_range``.
        std: Likewise.
    """

    size: int | None = None
    resize: int | None = None
    keep_aspect: bool | None = None
    crop_fraction: Number | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    color_order: str | None = None
    value_range: tuple[Number, Number] | None = None
    mean: tuple[Number, ...] | None = None
    std: tuple[Number, ...] | None = None


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A published accuracy.

    Attributes:
        measure: ``"top-1"``, ``"top-5"``, ``"mean IoU"`` and the like.
        percent: Its value, in percent.
        data_set: The images, in the source's words.
    """

    measure: str
    percent: float
    data_set: str


@dataclasses.dataclass(frozen=True)
class Record:
    """What the source of a weight file states about it; None, or empty, where it states nothing.

    Attributes:
        name: ``"source/name"``.
        network: The source's name of the network; several files may belong to one.
        url: Its address.
        checksum: As the source publishes it, for ``zoo.download``.
        license: Of the weights, in the source's words or as the address that it gives.
        preprocessing: What the network expects as input.
        labels: The list of the outputs' names, for ``zoo.labels``; None also for files without a classifier.
        accuracies: The published accuracies.
        padding: One of ``"symmetric"`` (as many zeros before as after), ``"symmetric, pooling rounds up"``,
            ``"same"`` (TensorFlow's; if the number of zeros is odd, one more after), ``"same and valid"`` (some
            layers have no padding), ``"symmetric and same"`` (the first for convolutions, the second for
            pooling).
        batch_norm_epsilon: Added to variances; None also for networks without batch normalization.
        batch_norm_momentum: The share of the old value in a moving average, Flax's convention.
        notes: What else users of the file should know.
        stated_in: The files from which all of this was read, with version or commit.
    """

    name: str
    network: str
    url: str
    checksum: str | None = None
    license: str | None = None
    preprocessing: Preprocessing | None = None
    labels: str | None = None
    accuracies: tuple[Accuracy, ...] = ()
    padding: str | None = None
    batch_norm_epsilon: float | None = None
    batch_norm_momentum: float | None = None
    notes: tuple[str, ...] = ()
    stated_in: tuple[str, ...] = ()

    @property
    def source(self) -> str:
        """The first part of the name."""
        return self.name.partition("/")[0]

    @property
    def file_name(self) -> str:
        """The name of the file."""
        return urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.rpartition("/")[2])

    def accuracy(self, measure: str = "top-1") -> float | None:
        """Returns a published accuracy in percent, or None if there is none."""
        return next((one.percent for one in self.accuracies if one.measure == measure), None)


class _RecordTuple(tuple[Record, ...]):
    """A tuple whose representation names its records instead of showing all their fields."""

    def __repr__(self) -> str:
        """Lists the first names and the number of records."""
        names = ", ".join(one.name for one in self[:3])
        return f"<{len(self)} records: {names}{', ...' if len(self) > 3 else ''}>"


def records(*, source: str | None = None) -> tuple[Record, ...]:
    """Returns the records of known weight files without downloading anything.

    Every fact was read from an installed package of the source, from a file of its repository or from a copy of one;
    ``Record.stated_in`` names them. Facts that none of these states are None, never guessed.

    Args:
        source: ``"pytorch"``, ``"tensorflow"``, ``"caffe"``, ``"matconvnet"`` or ``"keras"``; None for all.

    Returns:
        The records, in the order of their sources.

    Raises:
        ValueError: If the source is unknown.

    Example:
        >>> from jaxcnn.zoo import records
        >>> [one.name for one in records(source="keras") if one.network == "Xception"]
        ['keras/xception', 'keras/xception_notop']

    References:
        The models page of torchvision, the README of TensorFlow's slim, Caffe's Model Zoo, MatConvNet's page of
        pretrained models, and Keras Applications.
    """
    if source is None:
        return _RecordTuple(one for name in SOURCES for one in _read(name))
    check_choice("records", "source", source, SOURCES)
    return _RecordTuple(_read(source))


def record(name: str) -> Record:
    """Returns the record of one weight file without downloading anything.

    Args:
        name: ``"source/name"``, such as ``"pytorch/resnet50_imagenet1k_v2"``. ``records`` lists all.

    Returns:
        The record.

    Raises:
        ValueError: If there is none of that name; the message suggests similar names.

    Example:
        >>> from jaxcnn.zoo import record
        >>> one = record("pytorch/resnet18_imagenet1k_v1")
        >>> one.checksum, one.preprocessing.resize, one.preprocessing.size, one.accuracy("top-1")
        ('sha256:f37072fd', 256, 224, 69.758)
    """
    one = find(name)
    if one is None:
        raise ValueError(f"record: name must be one of those in records(), got {name!r}{suggest_record(name)}.")
    return one


def find(name: object) -> Record | None:
    """Finds the record of a name; returns None if there is none."""
    return _by_name().get(name) if isinstance(name, str) else None


def suggest_record(name: object) -> str:
    """Writes a hint with similar names; empty if there are none."""
    return suggest(name, _by_name())


@functools.cache
def _by_name() -> dict[str, Record]:
    return {one.name: one for one in records()}


@functools.cache
def _read(source: str) -> tuple[Record, ...]:
    """Reads a source's file, which stores texts and preprocessing that records share only once."""
    content = json.loads(
        resources.files("jaxcnn.zoo.records").joinpath("recorded", f"{source}.json").read_text("utf-8")
    )
    shared = {name: Preprocessing(**_tuples(entry)) for name, entry in content["preprocessing"].items()}
    found = []
    for entry in content["records"]:
        fields = content["common"] | entry
        fields["preprocessing"] = shared.get(fields.get("preprocessing"))
        fields["accuracies"] = tuple(Accuracy(*one) for one in fields.get("accuracies", ()))
        for key in ("notes", "stated_in"):
            fields[key] = tuple(content["texts"][text] for text in fields.get(key, ()))
        found.append(Record(**fields))
    return tuple(found)


def _tuples(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in entry.items()}
