"""Known weight files of five model zoos: where they are, what input they want, and what their sources state of them."""

import dataclasses
import difflib
import functools
import json
import urllib.parse
from importlib import resources
from typing import Any

from jaxcnn._check import check_choice

__all__ = ["PADDINGS", "SOURCES", "Accuracy", "Preprocessing", "Record", "find", "near", "record", "records"]

SOURCES = ("pytorch", "tensorflow", "caffe", "matconvnet", "keras")
"""What names begin with: torchvision, TensorFlow's slim, Caffe's Model Zoo, MatConvNet, keras.applications."""

PADDINGS = (
    "symmetric",  # as many zeros before as behind, what PyTorch and Caffe do
    "symmetric, pooling rounds up",  # and a last window that is not full counts
    "same",  # TensorFlow's: where the number of zeros is odd, one more behind
    "same and valid",  # some layers have no padding
    "symmetric and same",  # convolutions the first, pooling the second
)
"""What ``Record.padding`` may be."""


@dataclasses.dataclass(frozen=True)
class Preprocessing:
    """How a picture becomes the input of a network; None where the source does not say it.

    Convention: In this order: with ``crop_fraction`` the middle of the picture, that share of its height and of its
        width, is resized to ``size``; with ``resize`` the picture is resized to that and its middle of ``size`` is
        taken. Channels come in ``colour_order``, values in ``value_range``, and the input is ``(value - mean) / std``
        per channel, so 0 and 1 there mean that the network wants the values as they are.

    Attributes:
        size: Height and width of the input, in pixels.
        resize: Pixels of the shorter side, or of both sides, before the crop.
        keep_aspect: Whether ``resize`` is about the shorter side only, the other following.
        crop_fraction: Share of height and of width that a crop before resizing keeps.
        interpolation: ``"bilinear"`` or ``"bicubic"``.
        antialias: Whether resizing to fewer pixels averages over what lies between.
        colour_order: ``"RGB"`` or ``"BGR"``.
        value_range: What black and white are before the mean is taken off, (0, 1) or (0, 255).
        mean: One number per channel, in ``colour_order``, in units of ``value_range``.
        std: Likewise.
    """

    size: int | None = None
    resize: int | None = None
    keep_aspect: bool | None = None
    crop_fraction: float | None = None
    interpolation: str | None = None
    antialias: bool | None = None
    colour_order: str | None = None
    value_range: tuple[float, float] | None = None
    mean: tuple[float, float, float] | None = None
    std: tuple[float, float, float] | None = None


@dataclasses.dataclass(frozen=True)
class Accuracy:
    """A figure that the source publishes.

    Attributes:
        measure: ``"top-1"``, ``"top-5"``, ``"mean IoU"`` and the like.
        percent: Its value, in percent.
        data_set: On which images, in the source's words.
    """

    measure: str
    percent: float
    data_set: str


@dataclasses.dataclass(frozen=True)
class Record:
    """What the source of a weight file states of it; None, or nothing, where it states nothing.

    Attributes:
        name: ``"source/name"``.
        network: What its source calls the network; several files may be of one.
        url: Where it is.
        checksum: As the source publishes it, for ``zoo.download``.
        licence: Of the weights, in the source's words or as the address that it gives.
        preprocessing: What the network wants as input.
        labels: Which list the outputs follow, for ``zoo.labels``; None also for files without a classifier.
        accuracies: What is published.
        padding: One of ``"symmetric"`` (as many zeros before as behind), ``"symmetric, pooling rounds up"``,
            ``"same"`` (TensorFlow's; where the number of zeros is odd, one more behind), ``"same and valid"`` (some
            layers have no padding), ``"symmetric and same"`` (convolutions the first, pooling the second).
        batch_norm_epsilon: What is added to variances; None also for networks without batch normalisation.
        batch_norm_momentum: The share of the old value in a moving average, as Flax counts it.
        notes: What else matters to who uses the file.
        stated_in: The files all of this was read from, with version or commit.
    """

    name: str
    network: str
    url: str
    checksum: str | None = None
    licence: str | None = None
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
        """What the file is called."""
        return urllib.parse.unquote(urllib.parse.urlsplit(self.url).path.rpartition("/")[2])

    def accuracy(self, measure: str = "top-1") -> float | None:
        """Gives a published figure in percent, or None for none."""
        return next((one.percent for one in self.accuracies if one.measure == measure), None)


def records(*, source: str | None = None) -> tuple[Record, ...]:
    """Gives the records of known weight files; nothing is downloaded.

    Every fact was read from an installed package of the source, from a file of its repository or from a copy of one;
    ``Record.stated_in`` says which. What none of these states is None, never guessed.

    Args:
        source: ``"pytorch"``, ``"tensorflow"``, ``"caffe"``, ``"matconvnet"`` or ``"keras"``; None gives all.

    Returns:
        The records, in the order of their sources.

    Raises:
        ValueError: If the source is unknown.

    Example:
        >>> [one.name for one in records(source="keras") if one.network == "Xception"]
        ['keras/xception', 'keras/xception_notop']

    References:
        The models page of torchvision, the README of TensorFlow's slim, Caffe's Model Zoo, MatConvNet's page of
        pretrained models, and Keras Applications.
    """
    if source is None:
        return tuple(one for name in SOURCES for one in _read(name))
    check_choice("records", "source", source, SOURCES)
    return _read(source)


def record(name: str) -> Record:
    """Gives the record of one weight file; nothing is downloaded.

    Args:
        name: ``"source/name"``, such as ``"pytorch/resnet50_imagenet1k_v2"``. ``records`` has all.

    Returns:
        The record.

    Raises:
        ValueError: If there is none of that name; the message has similar names.

    Example:
        >>> one = record("pytorch/resnet18_imagenet1k_v1")
        >>> one.checksum, one.preprocessing.resize, one.preprocessing.size, one.accuracy("top-1")
        ('sha256:f37072fd', 256, 224, 69.758)
    """
    one = find(name)
    if one is None:
        raise ValueError(f"record: name must be one of those that records() gives, got {name!r}{near(name)}.")
    return one


def find(name: Any) -> Record | None:
    """Gives the record of a name, or None for none."""
    return _by_name().get(name) if isinstance(name, str) else None


def near(name: Any) -> str:
    """Gives a hint with names that are similar, or nothing."""
    found = difflib.get_close_matches(str(name), _by_name(), n=3, cutoff=0.7)
    return f" (did you mean {' or '.join(map(repr, found))}?)" if found else ""


@functools.cache
def _by_name() -> dict[str, Record]:
    return {one.name: one for one in records()}


@functools.cache
def _read(source: str) -> tuple[Record, ...]:
    """Reads a source's file, in which texts and preprocessing that records share stand once."""
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
