"""HDF5 files of Keras: full models and weights of Keras 1 and 2, and of Keras 3 in the old and the new format."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcnn.zoo.checkpoint import Checkpoint
from jaxcnn.zoo.containers.hdf5 import Hdf5File, open_hdf5, signature_offset
from jaxcnn.zoo.containers.json_text import parse_json
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.keras.kernels import Ordering, Weight, find_layer_classes, find_ordering, to_hwio
from jaxcnn.zoo.formats.keras.object_store import list_variables

if TYPE_CHECKING:
    import h5py

__all__ = ["is_keras_h5", "read_keras_h5"]


def is_keras_h5(path: Path, head: bytes) -> bool:
    """Tests whether a file may be Keras's HDF5: it has the signature and is not one of MATLAB's.

    Args:
        path: The file.
        head: Its first 4096 bytes.

    Returns:
        Whether ``read_keras_h5`` should read it.
    """
    return not head.startswith(b"MATLAB ") and signature_offset(path, head) is not None


def read_keras_h5(path: Path, *, max_bytes: int) -> Checkpoint:
    """Reads the weights, and the configuration if there is one, of an HDF5 file of Keras.

    Convention:
        Names are the file's weight names, such as ``"conv1/kernel:0"``; a name that occurs twice is preceded by its
        group. Files of Keras 3's ``save_weights`` have numbers only, see ``read_keras`` for their names. Kernels
        of Keras 1 in Theano's order become (kh, kw, in, out), those of Theano are flipped back. Those of transposed
        convolutions also become (kh, kw, in, out) where the class or name of the layer or the size of its bias
        identifies them; ``metadata["notes"]`` says so. The rows of dense kernels that follow a flattened image stay in
        the order in which the file's model flattens. The configuration is parsed as JSON and never executed.

    Args:
        path: The file.
        max_bytes: What its tensors may take together.

    Returns:
        Writable tensors; ``metadata`` also has ``"layers"``, layer to names of tensors, and where the file states
        them ``"keras_version"``, ``"backend"`` and ``"training_config"``; ``graph`` is the model's configuration.

    Raises:
        FormatError: For a file that is truncated, corrupt, hostile or holds no model of Keras.
        FileNotFoundError: If there is no such file.

    Example:
        >>> import numpy as np
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
        Values and order of ``keras.Model.get_weights()`` after ``load_weights``, with TensorFlow's order of axes
        except for transposed convolutions.
    """
    with open_hdf5(SourceFile(path, max_bytes)) as file:
        return read_open_h5(file, file_name=Path(path).name)


def read_open_h5(file: Hdf5File, *, file_name: str, config: object = None) -> Checkpoint:
    """Reads an open HDF5 file of Keras, with the configuration that an archive holds beside it, if any."""
    root = file.root
    notes: list[str] = []
    metadata: dict[str, Any] = {"format": "keras-h5", "framework": "keras"}
    graph = config if config is not None else _parse_json_attribute(file, root, "model_config")
    holder = file.find_group(root, "model_weights") or root
    for node in (root, holder):
        for key in ("keras_version", "backend"):
            value = file.attribute(node, key)
            if isinstance(value, str):
                metadata.setdefault(key, value)
    training = _parse_json_attribute(file, root, "training_config")
    if training is not None:
        metadata["training_config"] = training
    layers = file.attribute_texts(holder, "layer_names")
    if layers is not None:
        weights = _list_named_weights(file, holder, layers, find_layer_classes(graph))
        ordering = find_ordering(weights, metadata, graph, file_name=file_name)
    elif file.attribute(root, "nb_layers") is not None:
        weights = _list_numbered_weights(file, root)
        ordering = find_ordering(weights, metadata, graph, file_name=file_name)
    else:
        weights, paths = list_variables(file, config)
        ordering = Ordering(channels_first=False, flipped=False, notes=[])
        metadata["paths"] = paths
    if file.find(root, "optimizer_weights") is not None or file.find(root, "optimizer") is not None:
        notes.append("The state of the optimizer was left out.")
    return _read_tensors(file, weights, ordering, metadata, notes, graph)


def _read_tensors(
    file: Hdf5File,
    weights: Sequence[Weight],
    ordering: Ordering,
    metadata: dict[str, Any],
    notes: list[str],
    graph: Any,
) -> Checkpoint:
    """Reads the tensors one after another."""
    siblings: dict[str, list[Weight]] = {}
    for weight in weights:
        siblings.setdefault(weight.layer, []).append(weight)
    file.check_total({weight.name: weight.dataset for weight in weights})
    tensors, layouts = {}, {}
    for weight in weights:
        array = file.tensor(weight.dataset, weight.name)
        tensors[weight.name], layout = to_hwio(array, weight, siblings[weight.layer], ordering)
        if layout is not None:
            layouts[weight.name] = layout
    if any(layout in ("WOI", "HWOI", "DHWOI") for layout in layouts.values()):
        notes.append("Kernels of transposed convolutions: (kh, kw, out, in) became (kh, kw, in, out).")
    metadata["layouts"] = layouts
    metadata["notes"] = ordering.notes + notes
    metadata["layers"] = {layer: [weight.name for weight in found] for layer, found in siblings.items()}
    return Checkpoint(tensors, metadata, graph)


def _parse_json_attribute(file: Hdf5File, node: "h5py.Group", name: str) -> Any:
    """Parses an attribute that holds JSON; returns None if there is none."""
    text = file.attribute(node, name)
    if text is None:
        return None
    if not isinstance(text, str):
        raise file.source.error(f"The attribute {name} must be one text.")
    return parse_json(file.source, text)


def _list_named_weights(
    file: Hdf5File, holder: "h5py.Group", layers: Sequence[str], classes: dict[str, str]
) -> list[Weight]:
    """Lists the weights of a file that names its layers and their weights in attributes."""
    found: list[tuple[str, str, h5py.Dataset]] = []
    for layer in [*layers, "top_level_model_weights"]:
        if layer == "top_level_model_weights" and file.find(holder, layer) is None:
            continue
        group = file.find_group(holder, layer)
        if group is None:
            raise file.source.error(f"It names the layer {layer!r}, but has no group for it.")
        for name in file.attribute_texts(group, "weight_names") or []:
            dataset = file.find_dataset(group, name)
            if dataset is None:
                raise file.source.error(f"The layer {layer!r} names the weight {name!r}, but does not hold it.")
            file.source.spend_objects(len(layer) + len(name) + 200)
            found.append((layer, name, dataset))
    counts: dict[str, int] = {}
    for _, name, _ in found:
        counts[name] = counts.get(name, 0) + 1
    weights: dict[str, Weight] = {}
    for layer, name, dataset in found:
        full = name if counts[name] == 1 else f"{layer}/{name}"
        if full in weights:
            raise file.source.error(f"It has two weights named {full!r}.")
        parts = name.split("/")
        kind = classes.get(parts[-2]) if len(parts) > 1 else None
        weights[full] = Weight(full, layer, kind or classes.get(layer), dataset.shape or (), dataset)
    return list(weights.values())


def _list_numbered_weights(file: Hdf5File, root: "h5py.Group") -> list[Weight]:
    """Lists the weights of the earliest files, whose layers and weights have numbers only."""
    count = file.attribute(root, "nb_layers")
    if not isinstance(count, int) or not 0 <= count <= file.size:
        raise file.source.error(f"It declares {count!r} layers.")
    weights = []
    for layer in (f"layer_{number}" for number in range(count)):
        group = file.find_group(root, layer)
        if group is None:
            raise file.source.error(f"It declares {count} layers, but has no {layer}.")
        params = file.attribute(group, "nb_params") or 0
        if not isinstance(params, int) or not 0 <= params <= file.size:
            raise file.source.error(f"The layer {layer!r} declares {params!r} weights.")
        for name in (f"param_{number}" for number in range(params)):
            dataset = file.find_dataset(group, name)
            if dataset is None:
                raise file.source.error(f"The layer {layer!r} does not hold {name}.")
            weights.append(Weight(f"{layer}/{name}", layer, None, dataset.shape or (), dataset))
    return weights
