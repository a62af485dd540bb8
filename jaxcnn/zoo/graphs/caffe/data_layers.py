"""Where data enter a network of Caffe, and what becomes of an image before it does."""

import dataclasses
import math
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.graphs.builder import GraphBuilder
from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, Unsupported
from jaxcnn.zoo.graphs.caffe.wiring import Top, WiredLayer, describe_layer
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["fill_blob", "find_channels", "find_preprocessing", "is_data_layer", "read_declared_shapes", "read_shapes"]

_KINDS = ("Input", "Data", "ImageData", "HDF5Data", "MemoryData", "WindowData", "DummyData", "AnnotatedData")
_KINDS += ("DenseImageData", "VideoData", "ImageLabelmapData", "LMDBData")
Shape = tuple[int | None, ...]
_KERNELS = ("Convolution", "ConvolutionDepthwise", "DepthwiseConvolution", "DepthwiseConv")
_PARAMETERS = ("transform", "data", "image_data", "window_data", "memory_data", "annotated_data")
_FILLERS = ("constant", "gaussian", "uniform", "xavier", "msra", "positive_unitball", "bilinear")
_LARGEST_FILL = 1 << 24
_MEAN_NOTE = (
    "The mean that is subtracted from images is not stated in the file; pass it to zoo.load as mean=, in the order BGR."
)


def is_data_layer(layer: WiredLayer) -> bool:
    """Returns whether a layer brings data; those in Python do where they read nothing."""
    return layer.kind in _KINDS or (layer.kind in ("Python", "Data") and not layer.bottoms)


def read_declared_shapes(net: Mapping[str, Any], inputs: list[Top], builder: GraphBuilder) -> dict[Top, Shape]:
    """Reads the shapes of a network's ``input`` fields, with the batch.

    Args:
        net: The description.
        inputs: The declared inputs.
        builder: Builds errors.

    Returns:
        Input to shape.
    """
    options = LayerOptions("the network", {k: net[k] for k in ("input_dim", "input_shape") if k in net}, builder.error)
    if len(inputs) == 0:
        return {}
    sizes = options.integers("input_dim", least=1)
    shapes: list[tuple[int, ...]] = [one.integers("dim", least=1) for one in options.messages("input_shape")]
    shapes = shapes or [sizes[i : i + 4] for i in range(0, len(sizes), 4)]
    if len(shapes) not in (0, len(inputs)) or any(len(shape) == 0 for shape in shapes):
        raise builder.error(f"declares {len(inputs)} inputs and {len(shapes)} shapes of inputs.")
    if not shapes:
        return {top: (None, None, None, None) for top in inputs}
    return dict(zip(inputs, shapes, strict=True))


def read_shapes(layer: WiredLayer, builder: GraphBuilder) -> list[Shape]:
    """Reads the shapes of what a data layer writes, with the batch; the first is of images unless it states shapes.

    Args:
        layer: The layer.
        builder: Holds the weights, which tell the number of channels, and builds errors.

    Returns:
        One shape for each top.
    """

    def error(reason: str) -> FormatError:
        return builder.error(f"{describe_layer(layer.name, layer.kind)}: {reason}")

    def options(name: str) -> LayerOptions:
        return LayerOptions(f"{name}_param", layer.fields.get(f"{name}_param") or {}, error)

    count = len(layer.tops)
    if layer.kind == "Input":
        shapes: list[Shape] = [one.integers("dim", least=1) for one in options("input").messages("shape")]
    elif layer.kind == "DummyData":
        dummy = options("dummy_data")
        shapes = [one.integers("dim", least=1) for one in dummy.messages("shape")]
        sizes = [dummy.integers(field, least=1) for field in ("num", "channels", "height", "width")]
        if not shapes and all(sizes):
            most = max(map(len, sizes))
            columns = [one * most if len(one) == 1 else one for one in sizes]
            shapes = [tuple(one) for one in zip(*columns, strict=False)]
    else:
        return [_image_shape(layer, options)] * count
    if len(shapes) not in (1, count) or any(len(shape) == 0 for shape in shapes):
        raise error(f"it states {len(shapes)} shapes for {count} tops.")
    return shapes * count if len(shapes) == 1 else shapes


def fill_blob(layer: Layer) -> list[Blob]:
    """Imports dummy data of one constant beside the inputs of a network.

    Args:
        layer: The layer.

    Returns:
        One blob for each top.

    Raises:
        Unsupported: If the values are random.
    """
    fillers = layer.options("dummy_data").messages("data_filler")
    tops, results = layer.wired.tops, []
    if len(fillers) not in (0, 1, len(tops)):
        raise layer.error(f"it has {len(fillers)} fillers for {len(tops)} tops.")
    for place, shape in enumerate(read_shapes(layer.wired, layer.network.builder)):
        filler = fillers[place if len(fillers) > 1 else 0] if fillers else None
        if filler is not None and filler.choice("type", _FILLERS, "constant") != "constant":
            raise Unsupported("of random values")
        sizes = [1 if size is None else size for size in shape[1:]]
        if math.prod(sizes) >= _LARGEST_FILL:
            raise layer.error(f"it fills {sizes} values.")
        blob = Blob("", tuple(sizes), len(sizes) > 2)
        value = 0.0 if filler is None else filler.number("value", 0.0)
        held = [1 if size is None else size for size in blob.held]
        path = layer.register("constant", np.full(held, value, np.float32), place)
        results.append(
            layer.finish("constant", [], blob.shape, last=blob.last, parameters={"constant": path}, top=place)
        )
    return results


def _image_shape(layer: WiredLayer, options: Any) -> Shape:
    """Reads what a layer of images states of their size."""
    memory, images = options("memory_data"), options("image_data")
    if "height" in memory and "width" in memory:
        sizes = [memory.integer(field, 1, least=1) for field in ("channels", "height", "width")]
        return (memory.integer("batch_size", 1, least=1), *sizes)
    crop = _crop_size(options)
    height, width = (images.integer(field, 0) or None for field in ("new_height", "new_width"))
    transform = options("transform")
    channels = 1 if transform.flag("force_gray", False) or not images.flag("is_color", True) else None
    channels = 3 if transform.flag("force_color", False) else channels
    return (None, channels, crop or height, crop or width)


def _crop_size(options: Any) -> int | None:
    for name in _PARAMETERS:
        if size := options(name).integer("crop_size", 0):
            return size
    return None


def find_channels(top: Top, builder: GraphBuilder) -> int | None:
    """Finds the number of channels of data from the first kernel behind them.

    Args:
        top: The data.
        builder: Holds the weights.

    Returns:
        The number, or None.
    """
    pending, seen = [top], 0
    while pending and seen < 1000:
        one, seen = pending.pop(0), seen + 1
        for layer in one.readers:
            kernel = builder.tensors.get(f"{layer.name}/weights")
            if layer.kind in _KERNELS and kernel is not None and kernel.ndim == 4:
                group = LayerOptions("", layer.fields.get("convolution_param") or {}, builder.error)
                return kernel.shape[-2] * (group.integer("group", 1, least=1) if kernel.shape[-2] == 1 else 1)
            if layer.kind in ("BatchNorm", "PReLU", "Scale"):
                array = builder.tensors.get(f"{layer.name}/{'slope' if layer.kind == 'PReLU' else 'mean'}")
                if array is not None and array.ndim == 1:
                    return array.shape[0]
            if len(layer.bottoms) == 1 and layer.kind not in ("Slice", "InnerProduct", "Reshape", "Flatten", "Permute"):
                pending += layer.tops
    return None


def find_preprocessing(layers: Iterable[WiredLayer], shape: Shape, builder: GraphBuilder) -> Preprocessing | None:
    """Collects what data layers do to images: scale, mean and crop.

    Args:
        layers: The data layers of the network, or of the training that wrote the weights.
        shape: Channels, height and width of the input.
        builder: Takes notes and builds errors.

    Returns:
        What an image becomes, or None where the input is no image.
    """
    if len(shape) != 3 or shape[0] not in (1, 3, None):
        return None
    found = Preprocessing(color_order="BGR" if shape[0] != 1 else None, value_range=(0, 255))
    mean_known = False
    for layer in layers:
        for name in _PARAMETERS:
            options = LayerOptions(f"{name}_param", layer.fields.get(f"{name}_param") or {}, builder.error)
            scale, values = options.number("scale", 1.0), options.numbers("mean_value")
            if scale not in (0.0, 1.0) and found.std is None:
                found = dataclasses.replace(found, std=(float(np.float32(1) / np.float32(scale)),))
            if values and found.mean is None:
                if len(values) not in (1, shape[0] or len(values)):
                    raise builder.error(f"{describe_layer(layer.name, layer.kind)}: it has {len(values)} means.")
                found, mean_known = dataclasses.replace(found, mean=values), True
            if (file := options.text("mean_file")) and not mean_known:
                builder.note(f"The mean image is in {file!r:.200}; pass such a file to zoo.load as mean=.")
                mean_known = True
    if not mean_known and found.std is None:
        builder.note(_MEAN_NOTE)
    return found
