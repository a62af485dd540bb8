"""Loads a network with its weights from a file of a zoo."""

import dataclasses
import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import jax
import numpy as np
from flax import traverse_util

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Number
from jaxcnn.graphs.graph import Graph
from jaxcnn.graphs.heads import find_activation
from jaxcnn.graphs.network import GraphNetwork
from jaxcnn.models.registry import ARCHITECTURES
from jaxcnn.zoo.checkpoint import MAX_BYTES, Checkpoint
from jaxcnn.zoo.families import find_model, find_name, find_record, fit_preprocessing
from jaxcnn.zoo.family_filling import build_filled
from jaxcnn.zoo.graphs.builder import ImportedNetwork
from jaxcnn.zoo.mappings.matching import Rule
from jaxcnn.zoo.pretrained import Pretrained
from jaxcnn.zoo.reading import locate, read
from jaxcnn.zoo.records import label_sets, weight_records
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["describes_network", "import_network", "load", "register_loader"]

Importer = Callable[..., ImportedNetwork]
Loader = Callable[[Path], Pretrained | None]

_LOADERS: list[Loader] = []


def register_loader(loader: Loader) -> Loader:
    """Lets ``load`` load files or folders of another kind; ``jaxcnn.train`` registers the one of run folders.

    Args:
        loader: Returns the network of a path, or None where the path is of another kind.

    Returns:
        The same function, so that this is a decorator.
    """
    _LOADERS.append(loader)
    return loader


def _find_importer(form: str) -> Importer | None:
    """Returns the function that imports networks of a format; None if its files carry weights only.

    It takes the path and the checkpoint; of Caffe also the path of the prototxt.
    """
    if form in ("caffe", "caffe-prototxt"):
        from jaxcnn.zoo.graphs.caffe.importer import import_caffe

        return import_caffe
    if form in ("keras", "keras-h5"):
        from jaxcnn.zoo.graphs.keras.importing import import_keras

        return import_keras
    if form == "matconvnet":
        from jaxcnn.zoo.graphs.matconvnet.importer import import_matconvnet

        return import_matconvnet
    if form in ("tensorflow-graph", "tensorflow-savedmodel"):
        from jaxcnn.zoo.graphs.tensorflow.importing import import_tensorflow

        return import_tensorflow
    if form == "tflite":
        from jaxcnn.zoo.graphs.tflite.importer import import_tflite

        return import_tflite
    return None


def load(
    name_or_path: str | os.PathLike[str],
    *,
    model: str | None = None,
    graph: str | os.PathLike[str] | None = None,
    outputs: Sequence[str] | None = None,
    mean: str | os.PathLike[str] | Sequence[Number] | None = None,
    labels: str | os.PathLike[str] | Sequence[str] | None = None,
    head: Literal["source"] | None = "source",
    channels: int | None = None,
    mapping: Sequence[Rule] | None = None,
    download: bool = False,
    max_bytes: int = MAX_BYTES,
    **options: Any,
) -> Pretrained:
    """Loads a network with its weights from a file of a zoo, or from a run folder.

    Files of Caffe, MatConvNet, Keras, TensorFlow and TensorFlow Lite that describe their network are run as they
    describe it, without their frameworks; nothing in them is executed.

    Convention:
        Images are channels last, whatever the source's order; values that the source has flattened or permuted keep
        the source's order. The batch is free, and so are heights and widths where the network allows it.

    Args:
        name_or_path: The file, or for formats of several files their folder or common prefix; or the name of a record,
            such as ``"keras/mobilenet_v1_0.25_224"``; or a run folder of ``train.fit`` or the command line (the best
            checkpoint; of an experiment the last arm's first seed, of an ensemble the best member).
        model: Name of the model of ``models.create``, for files that carry weights only; the record of a name states
            it.
        graph: Of Caffe: the prototxt of the network; by default the file of the same stem beside the weights, else
            what the caffemodel itself says.
        outputs: Values to return, by the source's names of layers or values; by default the network's outputs.
        mean: Of Caffe: the mean image (``.binaryproto``), or one number per channel in the order of the input.
        labels: Names of the classes, a file with one per line, or the name of a list of ``zoo.labels``.
        head: None removes the classifier: the model returns its features.
        channels: Of a named model: channels of your images; where they differ from the file's, the first kernel is
            adapted: summed for one channel, repeated for more.
        mapping: Of a named model, for files with names of their own: rules of pattern of the model's layer, such as
            ``"block(.)/conv1"``, and name in the file, a template or a function of the pattern's groups.
        download: Whether the file of a record may be downloaded if it is missing.
        max_bytes: What all tensors together may take.
        **options: Of a named model: its fields, such as ``output_stride=8``.

    Returns:
        The network. ``pretrained.model.apply(pretrained.variables, x)`` runs it; a network of several outputs returns
        a dictionary.

    Raises:
        FileNotFoundError: If there is no such file, or the file of a record was not downloaded.
        DownloadError: If it cannot be downloaded.
        FormatError: If the file is damaged, its network is inconsistent or has unknown operations, or its tensors do
            not fit the named model.
        ValueError: If an argument is wrong, or the file carries weights only and no model is named.

    Example:
        >>> from jaxcnn import zoo
        >>> zoo.load("keras/mobilenet_v1_0.25_223")
        Traceback (most recent call last):
            ...
        FileNotFoundError: read: path must be an existing file, got 'keras/mobilenet_v1_0.25_223' (did you mean ...
    """
    check(is_integer_at_least(max_bytes, 1), "load", "max_bytes", "a positive integer", repr(max_bytes))
    location = locate(name_or_path, download=download)
    of_file: dict[str, object] = {"graph": graph, "outputs": outputs, "mean": mean}
    of_model: dict[str, object] = {"channels": channels, "mapping": mapping, **options}
    for loader in _LOADERS:
        if (found := loader(location)) is not None:
            _refuse("a run folder", "labels or head", model=model, **of_file, **of_model)
            return _use_options(found, labels=labels, head=head)
    checkpoint = read(location, max_bytes=max_bytes)
    record = weight_records.find(os.fspath(name_or_path))
    family = _find_family(checkpoint, record, model)
    if family is not None:
        _refuse("a named model", "labels, head, channels, mapping or the model's", **of_file)
        name, stated = family
        found = _load_family(
            location, checkpoint, name, record, head=head, channels=channels, mapping=mapping, options=stated | options
        )
        return _use_options(found, labels=labels, head="source")
    _refuse("a file that describes its network", "graph, outputs, mean, labels or head", **of_model)
    network = import_network(location, checkpoint, graph=graph)
    return _assemble(location, checkpoint, network, record, outputs=outputs, mean=mean, labels=labels, head=head)


def _refuse(what: str, allowed: str, **given: object) -> None:
    """Refuses options that do not apply to what is loaded, instead of ignoring them."""
    wrong = [name for name, value in given.items() if value is not None]
    check(not wrong, "load", f"options of {what}", allowed, ", ".join(wrong))


def describes_network(checkpoint: Checkpoint) -> bool:
    """Returns whether a file says what its network computes."""
    form = checkpoint.metadata["format"]
    return _find_importer(form) is not None and (checkpoint.graph is not None or form == "caffe")


def _find_family(
    checkpoint: Checkpoint, record: weight_records.Record | None, model: str | None
) -> tuple[str, dict[str, Any]] | None:
    """Finds the model to fill and what its record states of it; None where the file describes itself or is unknown."""
    if model is None:
        return None if record is None or describes_network(checkpoint) else find_model(record)
    name = find_name(model, checkpoint.metadata.get("framework"))
    found = None if record is None else find_model(record)
    return name, found[1] if found is not None and found[0] == name else {}


def import_network(location: Path, checkpoint: Checkpoint, *, graph: str | os.PathLike[str] | None) -> ImportedNetwork:
    """Imports the network that a file describes; ``graph``: of Caffe, the prototxt."""
    form = checkpoint.metadata["format"]
    check(graph is None or form == "caffe", "load", "graph", "None, except for files of Caffe", repr(graph))
    importer = _find_importer(form)
    if importer is None or not describes_network(checkpoint):
        raise ValueError(
            f"load: model must be named, as {str(location)!r} ({form}) carries weights only and does not describe its "
            "network; models.names() lists those that can be filled."
        )
    return importer(location, checkpoint, **({"graph": graph} if form == "caffe" else {}))


def _load_family(
    location: Path,
    checkpoint: Checkpoint,
    name: str,
    record: weight_records.Record | None,
    *,
    head: Literal["source"] | None,
    channels: int | None,
    mapping: Sequence[Rule] | None,
    options: Mapping[str, Any],
) -> Pretrained:
    """Fills a model of ``models.create`` with the tensors of a file."""
    classes = None if head is None else "file"
    module, variables, notes = build_filled(
        location, checkpoint, name, num_classes=classes, channels=channels, mapping=mapping, options=options
    )
    known = record or find_record(name, checkpoint.metadata.get("framework"))
    count = getattr(module, "num_classes", None)
    provenance = {
        "path": os.fspath(location),
        "format": checkpoint.metadata["format"],
        "framework": checkpoint.metadata.get("framework"),
        "model": name,
        "notes": (*checkpoint.metadata.get("notes", ()), *notes),
    }
    if record is not None:
        provenance |= {"name": record.name, "license": record.license}
    labels = label_sets.labels(known.labels) if known is not None and known.labels is not None else None
    size = ARCHITECTURES[name].size if name in ARCHITECTURES else None
    return Pretrained(
        model=module,
        variables=variables,
        preprocessing=fit_preprocessing(known, module) if known is not None else None,
        labels=labels if labels is not None and len(labels) == count else None,
        activation="features" if count is None else "logits",
        input_shape=(size, size, channels or 3),
        provenance=provenance,
    )


def _assemble(
    location: Path,
    checkpoint: Checkpoint,
    network: ImportedNetwork,
    record: weight_records.Record | None,
    *,
    outputs: Sequence[str] | None,
    mean: str | os.PathLike[str] | Sequence[Number] | None,
    labels: str | os.PathLike[str] | Sequence[str] | None,
    head: Literal["source"] | None,
) -> Pretrained:
    graph = network.graph
    provenance = {
        "path": os.fspath(location),
        "format": checkpoint.metadata["format"],
        "framework": checkpoint.metadata.get("framework"),
        "notes": (*checkpoint.metadata.get("notes", ()), *network.notes),
    }
    if record is not None:
        provenance |= {"name": record.name, "license": record.license}
    chosen = tuple(outputs) if outputs is not None else None
    if chosen is not None:
        for name in chosen:
            graph.find_value(name)
    arrays = jax.device_put({one.path: network.arrays[one.path] for one in graph.parameters})  # compiles nothing
    flat = {(one.collection, *one.path.split("/")): arrays[one.path] for one in graph.parameters}
    preprocessing, mean_image = network.preprocessing, network.mean_image
    if record is not None and record.preprocessing is not None:
        preprocessing = _complete(record.preprocessing, network.preprocessing)
    if mean is not None:
        preprocessing, mean_image = _use_mean(preprocessing or Preprocessing(), mean)
    names = network.labels
    if names is None and record is not None and record.labels is not None:
        names = label_sets.labels(record.labels)
    last = graph.find_value(chosen[-1]) if chosen else graph.outputs[-1]
    pretrained = Pretrained(
        model=GraphNetwork(graph, outputs=chosen),
        variables=traverse_util.unflatten_dict(flat),
        preprocessing=preprocessing,
        mean_image=mean_image,
        labels=names,
        activation=find_activation(graph, output=last),
        input_shape=_find_input_shape(graph),
        provenance=provenance,
    )
    return _use_options(pretrained, labels=labels, head=head)


def _use_options(
    pretrained: Pretrained,
    *,
    labels: str | os.PathLike[str] | Sequence[str] | None,
    head: Literal["source"] | None,
) -> Pretrained:
    """Takes the labels that the user names, and removes the classifier if asked to."""
    if labels is not None:
        pretrained = dataclasses.replace(pretrained, labels=_read_labels(labels))
    return pretrained if head == "source" else pretrained.with_head(jax.random.key(0), None)


def _find_input_shape(graph: Graph) -> tuple[int | None, int | None, int | None]:
    shape = graph.inputs[0].shape
    return (shape[0], shape[1], shape[2]) if len(shape) == 3 else (None, None, None)


def _complete(stated: Preprocessing, by_file: Preprocessing | None) -> Preprocessing:
    """Returns what a record states, and where it states nothing what the file says."""
    if by_file is None:
        return stated
    gaps = {field.name for field in dataclasses.fields(stated) if getattr(stated, field.name) is None}
    return dataclasses.replace(stated, **{name: getattr(by_file, name) for name in gaps})


def _use_mean(
    preprocessing: Preprocessing, mean: str | os.PathLike[str] | Sequence[Number]
) -> tuple[Preprocessing, np.ndarray | None]:
    """Reads a mean image, or takes one number per channel."""
    if isinstance(mean, str | os.PathLike):
        found = read(mean)
        check("mean" in found.tensors, "load", "mean", "a file of a mean image", repr(os.fspath(mean)))
        return preprocessing, found.tensors["mean"]
    numbers = tuple(float(one) for one in mean)
    return dataclasses.replace(preprocessing, mean=numbers), None


def _read_labels(labels: str | os.PathLike[str] | Sequence[str]) -> tuple[str, ...]:
    """Reads a file with one name per line, finds a known list, or takes the names themselves."""
    if isinstance(labels, str | os.PathLike):
        if Path(labels).is_file():
            return tuple(Path(labels).read_text("utf-8").splitlines())
        return label_sets.labels(os.fspath(labels))
    return tuple(str(one) for one in labels)
