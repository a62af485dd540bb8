"""Reads HDF5 files of Keras: full models and weights of Keras 1 and 2, and of Keras 3 in the old and the new form."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.hdf5 import Hdf5, open_hdf5, signature_offset
from jaxcnn.zoo.formats.keras.kernels import Ordering, Weight, as_layer_classes, find_ordering, upright
from jaxcnn.zoo.formats.keras.object_store import store_weights

__all__ = ["is_keras_h5", "read_keras_h5"]


def is_keras_h5(path: Path, head: bytes) -> bool:
    """Says whether a file may be Keras's HDF5: it has the signature and is none of MATLAB's.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_keras_h5`` is the reader to ask.
    """
    return not head.startswith(b"MATLAB ") and signature_offset(path, head) is not None


def read_keras_h5(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the weights, and where it is there the configuration, of an HDF5 file of Keras.

    Convention:
        Names are the file's weight names, such as ``"conv1/kernel:0"``; a name that the file uses twice is preceded by
        its group. Files of Keras 3's ``save_weights`` have numbers only, see ``read_keras`` for their names. Kernels
        of Keras 1 in Theano's order become (kh, kw, in, out), those of Theano are mirrored back, those of transposed
        convolutions become (kh, kw, in, out), too, where the class or name of the layer or the size of its bias tells
        them; ``metadata["notes"]`` says so. The rows of dense kernels behind a
        flattened image stay in the order in which the file's model flattens. The configuration is parsed as JSON and
        never executed.

    Args:
        path: The file.
        max_bytes: What its tensors may take together.

    Returns:
        Writable tensors; ``metadata`` also has ``"layers"``, layer to names of tensors, and as far as the file says
        them ``"keras_version"``, ``"backend"`` and ``"training_config"``; ``graph`` is the model's configuration.

    Raises:
        FormatError: For a file that is truncated, corrupt, hostile or holds no model of Keras.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import h5py, pathlib, tempfile
        >>> folder = tempfile.TemporaryDirectory()
        >>> path = pathlib.Path(folder.name) / "weights.h5"
        >>> with h5py.File(path, "w") as file:
        ...     file.attrs["layer_names"] = ["conv1"]
        ...     group = file.create_group("conv1")
        ...     group.attrs["weight_names"] = ["conv1/kernel:0"]
        ...     group["conv1/kernel:0"] = np.zeros((3, 3, 1, 8), np.float32)
        >>> from jaxcnn.zoo.formats.keras.hdf5_file import read_keras_h5
        >>> read_keras_h5(path, max_bytes=1 << 20).tensors["conv1/kernel:0"].shape
        (3, 3, 1, 8)
        >>> folder.cleanup()

    Parity:
        Values and order of ``keras.Model.get_weights()`` after ``load_weights``, with TensorFlow's order of axes but
        for transposed convolutions.
    """
    with open_hdf5(path, max_bytes=max_bytes) as file:
        return read_open_h5(file, file_name=Path(path).name)


def read_open_h5(file: Hdf5, *, file_name: str, config: Any = None) -> Checkpoint:
    """Reads an open HDF5 file of Keras, with the configuration that stands beside it in an archive, if any."""
    root = file.root
    notes: list[str] = []
    metadata: dict[str, Any] = {"format": "keras-h5", "framework": "keras"}
    graph = config if config is not None else _json_attribute(file, root, "model_config")
    holder = root
    if file.member(root, "model_weights") is not None:
        holder = file.member(root, "model_weights")
    for node in (root, holder):
        for key in ("keras_version", "backend"):
            value = file.attribute(node, key)
            if isinstance(value, str):
                metadata.setdefault(key, value)
    training = _json_attribute(file, root, "training_config")
    if training is not None:
        metadata["training_config"] = training
    layers = file.attribute_texts(holder, "layer_names")
    if layers is not None:
        weights = _named_weights(file, holder, layers, as_layer_classes(graph))
        ordering = find_ordering(weights, metadata, graph, file_name=file_name)
    elif file.attribute(root, "nb_layers") is not None:
        weights = _numbered_weights(file, root)
        ordering = find_ordering(weights, metadata, graph, file_name=file_name)
    else:
        weights, paths = store_weights(file, config)
        ordering = Ordering(first=False, flipped=False, notes=[])
        metadata["paths"] = paths
    if file.member(root, "optimizer_weights") is not None or file.member(root, "optimizer") is not None:
        notes.append("The state of the optimizer was left out.")
    return _checkpoint(file, weights, ordering, metadata, notes, graph)


def _checkpoint(
    file: Hdf5, weights: Sequence[Weight], ordering: Ordering, metadata: dict[str, Any], notes: list[str], graph: Any
) -> Checkpoint:
    """Reads the tensors one after the other."""
    siblings: dict[str, list[Weight]] = {}
    for weight in weights:
        siblings.setdefault(weight.layer, []).append(weight)
    tensors, layouts = {}, {}
    for weight in weights:
        array = file.tensor(weight.source, weight.name)
        tensors[weight.name], layout = upright(array, weight, siblings[weight.layer], ordering)
        if layout is not None:
            layouts[weight.name] = layout
    if any(layout in ("WOI", "HWOI", "DHWOI") for layout in layouts.values()):
        notes.append("Kernels of transposed convolutions were (kh, kw, out, in) and are (kh, kw, in, out) now.")
    metadata["layouts"] = layouts
    metadata["notes"] = ordering.notes + notes
    metadata["layers"] = {layer: [weight.name for weight in found] for layer, found in siblings.items()}
    return Checkpoint(tensors, metadata, graph)


def _json_attribute(file: Hdf5, node: Any, name: str) -> Any:
    """Parses an attribute that holds JSON, or gives None where there is none."""
    text = file.attribute(node, name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise FormatError(file.path, f"The attribute {name} must be one text.")
    return json.loads(text)


def _named_weights(file: Hdf5, holder: Any, layers: Sequence[str], classes: dict[str, str]) -> list[Weight]:
    """Lists the weights of a file that names its layers and their weights in attributes."""
    found: list[tuple[str, str, Any]] = []
    for layer in [*layers, "top_level_model_weights"]:
        group = file.member(holder, layer)
        if group is None and layer == "top_level_model_weights":
            continue
        if group is None or not file.is_group(group):
            raise FormatError(file.path, f"It names the layer {layer!r}, but has no group for it.")
        for name in file.attribute_texts(group, "weight_names") or []:
            source = file.member(group, name)
            if source is None or file.is_group(source):
                raise FormatError(file.path, f"The layer {layer!r} names the weight {name!r}, but does not hold it.")
            found.append((layer, name, source))
    counts: dict[str, int] = {}
    for _, name, _ in found:
        counts[name] = counts.get(name, 0) + 1
    weights: dict[str, Weight] = {}
    for layer, name, source in found:
        full = name if counts[name] == 1 else f"{layer}/{name}"
        if full in weights:
            raise FormatError(file.path, f"It has two weights named {full!r}.")
        parts = name.split("/")
        kind = classes.get(parts[-2]) if len(parts) > 1 else None
        weights[full] = Weight(full, layer, kind or classes.get(layer), source.shape or (), source)
    return list(weights.values())


def _numbered_weights(file: Hdf5, root: Any) -> list[Weight]:
    """Lists the weights of the earliest files, whose layers and weights have numbers only."""
    count = file.attribute(root, "nb_layers")
    if not isinstance(count, int) or not 0 <= count <= file.size:
        raise FormatError(file.path, f"It declares {count!r} layers.")
    weights = []
    for layer in (f"layer_{number}" for number in range(count)):
        group = file.member(root, layer)
        if group is None or not file.is_group(group):
            raise FormatError(file.path, f"It declares {count} layers, but has no {layer}.")
        params = file.attribute(group, "nb_params") or 0
        if not isinstance(params, int) or not 0 <= params <= file.size:
            raise FormatError(file.path, f"The layer {layer!r} declares {params!r} weights.")
        for name in (f"param_{number}" for number in range(params)):
            source = file.member(group, name)
            if source is None or file.is_group(source):
                raise FormatError(file.path, f"The layer {layer!r} does not hold {name}.")
            weights.append(Weight(f"{layer}/{name}", layer, None, source.shape or (), source))
    return weights
