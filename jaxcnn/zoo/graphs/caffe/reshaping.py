"""Caffe's layers that move values: join, cut, reorder, reshape."""

from collections.abc import Mapping

from jaxcnn.zoo.graphs.caffe.layer_options import LayerOptions
from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule, Unsupported

__all__ = ["MOVING_LAYERS"]

_MOST_DIMENSIONS = 32


def _axis_or_dimension(layer: Layer, options: LayerOptions, old: str) -> int:
    """Reads the axis of layers that had a field of another name before."""
    if old in options and "axis" in options:
        raise layer.error(f"axis and {old} exclude each other.")
    axis = options.integer(old, 1, most=_MOST_DIMENSIONS) if old in options else options.integer("axis", 1, least=-32)
    return layer.example_axis(axis, layer.bottom)


def _product(shape: tuple[int | None, ...]) -> int | None:
    total: int | None = 1
    for size in shape:
        total = None if total is None or size is None else total * size
    return total


def _join(layer: Layer) -> Blob:
    layer.check_counts((1, None))
    axis = _axis_or_dimension(layer, layer.options("concat"), "concat_dim")
    first = layer.bottom
    total: int | None = 0
    shape = list(first.shape)
    for blob in layer.bottoms:
        fits = blob.rank == first.rank
        for i, (n, m) in enumerate(zip(blob.shape, first.shape, strict=False)):
            fits = fits and (i == axis or n is None or m is None or n == m)
            shape[i] = n if shape[i] is None else shape[i]
        if not fits:
            raise layer.error(f"its blobs must agree but for axis {axis + 1}: {layer.show(first)}, {layer.show(blob)}.")
        size = blob.shape[axis]
        total = None if total is None or size is None else total + size
    shape[axis] = total
    blobs = layer.alike(layer.bottoms)
    return layer.finish("concat", blobs, tuple(shape), last=blobs[0].last, options={"axis": blobs[0].axis(axis)})


def _cut(layer: Layer) -> list[Blob]:
    layer.check_counts(1, (1, 4096))
    options, blob, count = layer.options("slice"), layer.bottom, len(layer.wired.tops)
    axis = _axis_or_dimension(layer, options, "slice_dim")
    points, size = options.integers("slice_point"), blob.shape[axis]
    if points:
        if len(points) != count - 1:
            raise layer.error(f"it has {len(points)} slice points for {count} tops.")
        ends = (*points, size)
    elif size is None:
        raise Unsupported("of an axis whose size the file does not state")
    elif size % count:
        raise layer.error(f"the {size} entries of axis {axis + 1} cannot be {count} equal parts.")
    else:
        ends = tuple(size // count * (i + 1) for i in range(count))
    begins = (0, *ends[:-1])
    sizes = [None if end is None or begin is None else end - begin for begin, end in zip(begins, ends, strict=True)]
    if any(one is not None and one < 1 for one in sizes):
        raise layer.error(f"the slice points {points} must increase inside the {size} entries of axis {axis + 1}.")
    shapes = [(*blob.shape[:axis], one, *blob.shape[axis + 1 :]) for one in sizes]
    settings = {"axis": blob.axis(axis), "sizes": tuple(-1 if one is None else one for one in sizes)}
    return layer.finish_several("split", blob, shapes, settings)


def _copy(layer: Layer) -> list[Blob]:
    """Imports ``Split``, by which Caffe lets several layers read a blob."""
    layer.check_counts(1, (1, None))
    return [layer.bottom] * len(layer.wired.tops)


def _crop(layer: Layer) -> Blob:
    layer.check_counts(2)
    options = layer.options("crop")
    blob, like = layer.alike(layer.bottoms)
    if blob.rank != like.rank:
        raise layer.error(f"it cannot crop {layer.show(blob)} to {layer.show(like)}.")
    first = layer.axis(options.integer("axis", 2, least=-32, most=32), blob)
    offsets = options.integers("offset")
    count = blob.rank - first
    if len(offsets) not in (0, 1, count):
        raise layer.error(f"it has {len(offsets)} offsets for {count} axes.")
    offsets = (offsets * count if len(offsets) == 1 else offsets) or (0,) * count
    axes = range(first, blob.rank)
    if first < 0:  # the batch, which keeps its size
        if offsets[0]:
            raise Unsupported("of the batch")
        axes, offsets = range(blob.rank), offsets[1:]
    for axis, offset in zip(axes, offsets, strict=True):
        size, wanted = blob.shape[axis], like.shape[axis]
        if size is not None and wanted is not None and offset + wanted > size:
            raise layer.error(f"{wanted} entries from {offset} on do not fit into {layer.show(blob)}.")
    shape = tuple(like.shape[axis] if axis in axes else n for axis, n in enumerate(blob.shape))
    settings = {"axes": tuple(blob.axis(axis) for axis in axes), "offsets": offsets}
    return layer.finish("crop_like", [blob, like], shape, last=blob.last, options=settings)


def _reorder(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("permute"), layer.bottom
    stated = options.integers("order", most=blob.rank)
    if len(set(stated)) < len(stated):
        raise layer.error(f"its order {stated} has an axis twice.")
    order = (*stated, *(axis for axis in range(blob.rank + 1) if axis not in stated))
    if order[0] != 0:
        raise Unsupported("of the batch")
    axes = tuple(axis - 1 for axis in order[1:])
    held = tuple(blob.axis(axis) for axis in axes)
    shape = tuple(blob.shape[axis] for axis in axes)
    if held == tuple(range(blob.rank)):  # such as (0, 2, 3, 1) of an image, whose channels are held last
        return layer.finish("identity", [blob], shape)
    return layer.finish("permute", [blob], shape, options={"axes": held})


def _flatten(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("flatten"), layer.bottom
    begin = layer.example_axis(options.integer("axis", 1, least=-32, most=32), blob) if blob.rank else 0
    end = layer.example_axis(options.integer("end_axis", -1, least=-32, most=32), blob) if blob.rank else 0
    if end < begin:
        raise layer.error(f"its axis {begin + 1} must be at most its end_axis {end + 1}.")
    shape = (*blob.shape[:begin], _product(blob.shape[begin : end + 1]), *blob.shape[end + 1 :])
    return layer.finish("flatten", [layer.source(blob)], shape, options={"begin": begin, "end": end})


def _reshape(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("reshape"), layer.bottom
    shapes = options.messages("shape")
    dims = shapes[-1].integers("dim", least=-1) if shapes else ()
    full, rank = (layer.network.batch, *blob.shape), blob.rank + 1
    axis = options.integer("axis", 0, least=-33, most=32)
    begin = axis if axis >= 0 else rank + 1 + axis
    count = options.integer("num_axes", -1, least=-1, most=32)
    end = rank if count == -1 else begin + count
    if not 0 <= begin <= end <= rank or len(dims) > _MOST_DIMENSIONS or dims.count(-1) > 1:
        raise layer.error(f"the shape {dims} from axis {axis} on does not fit {layer.show(blob)}.")
    # Where each new size comes from: an old axis whose size is kept, or a number; -1 is what is left.
    new: list[tuple[int | None, int]] = [(i, 0) for i in range(begin)]
    for i, dim in enumerate(dims):
        if dim == 0 and begin + i >= rank:
            raise layer.error(f"it keeps axis {begin + i}, which {layer.show(blob)} has not.")
        new.append((begin + i, 0) if dim == 0 else (None, dim))
    new += [(i, 0) for i in range(end, rank)]
    if not new:
        raise Unsupported("that mixes the examples of a batch")
    rest = [(None if origin is None else origin - 1, dim) for origin, dim in new[1:]]
    return _reshape_examples(layer, blob, new[0], rest, full[0])


def _reshape_examples(
    layer: Layer, blob: Blob, first: tuple[int | None, int], rest: list[tuple[int | None, int]], batch: int | None
) -> Blob:
    """Reshapes each example, if the first new size is that of the batch."""
    total = _product(blob.shape)
    if any(origin is not None and origin < 0 for origin, _ in rest):
        raise Unsupported("that mixes the examples of a batch")
    sizes = [dim if origin is None else blob.shape[origin] for origin, dim in rest]
    known = _product(tuple(size for size in sizes if size != -1))
    origin, dim = first
    if origin is None:
        free = -1 in sizes
        whole = known is not None and total is not None and (total % known == 0 if free else total == known)
        is_batch = (whole and not free) if dim == -1 else (whole or total is None) and (dim in (1, batch) or not free)
        if not is_batch:
            raise Unsupported("that mixes the examples of a batch")
    elif origin != 0:
        raise Unsupported("that mixes the examples of a batch")
    if total is not None and known is not None:
        if (total % known if -1 in sizes else total != known) or known < 1:
            raise layer.error(f"the sizes {tuple(sizes)} do not fit {layer.show(blob)}.")
        sizes = [total // known if size == -1 else size for size in sizes]
    else:
        sizes = [None if size == -1 else size for size in sizes]
    settings = []
    for i, (origin, dim) in enumerate(rest):
        if origin is None:
            settings.append(dim)
        elif origin == i:
            settings.append(None)  # is kept, whatever it is
        elif blob.shape[origin] is not None:
            settings.append(blob.shape[origin])
        elif -1 not in [one for _, one in rest]:
            settings.append(-1)
        else:
            raise Unsupported("to a size that the file does not state")
    if settings.count(-1) > 1:
        raise Unsupported("to sizes that the file does not state")
    return layer.finish("reshape", [layer.source(blob)], tuple(sizes), options={"shape": tuple(settings)})


def _repeat(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("tile"), layer.bottom
    axis = layer.example_axis(options.integer("axis", 1, least=-32, most=32), blob)
    tiles = options.integer("tiles", 0, least=1)
    size = blob.shape[axis]
    shape = (*blob.shape[:axis], None if size is None else size * tiles, *blob.shape[axis + 1 :])
    held = blob.axis(axis)
    settings = {"repeats": tuple(tiles if i == held else 1 for i in range(blob.rank))}
    return layer.finish("tile", [blob], shape, last=blob.last, options=settings)


def _shuffle(layer: Layer) -> Blob:
    layer.check_counts(1)
    group, blob = layer.options("shuffle_channel").integer("group", 1, least=1), layer.image()
    channels = blob.shape[0]
    if channels is not None and channels % group:
        raise layer.error(f"{channels} channels cannot be {group} groups.")
    return layer.finish("shuffle_channels", [blob], blob.shape, last=True, options={"groups": group})


MOVING_LAYERS: Mapping[str, LayerRule] = {
    "Concat": _join,
    "Slice": _cut,
    "Split": _copy,
    "Crop": _crop,
    "Permute": _reorder,
    "Flatten": _flatten,
    "Reshape": _reshape,
    "Tile": _repeat,
    "ShuffleChannel": _shuffle,
}
"""Type to how it is imported."""
