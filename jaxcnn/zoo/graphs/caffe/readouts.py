"""Caffe's layers that read maps out: probabilities, reductions, largest values, resized maps, prior boxes."""

from collections.abc import Mapping

from jaxcnn.zoo.graphs.caffe.network import Blob, Layer, LayerRule, Unsupported

__all__ = ["READING_LAYERS"]

_MOST_BOXES = 1 << 24
_MOST_TIMES = 1 << 10


def _softmax(layer: Layer) -> Blob:
    layer.check_counts(1)
    blob = layer.bottom
    axis = layer.example_axis(layer.options("softmax").integer("axis", 1, least=-32, most=32), blob)
    return layer.finish("softmax", [blob], blob.shape, last=blob.last, options={"axis": blob.axis(axis)})


def _reduce(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("reduction"), layer.bottom
    operation = options.choice("operation", ("", "SUM", "ASUM", "SUMSQ", "MEAN"), "SUM")
    axis = layer.axis(options.integer("axis", 0, least=-32, most=32), blob)
    if axis < 0:
        layer.note("reduces each example for itself; in Caffe it reduces the whole batch to one number.")
        axis = 0
    shape, blob = blob.shape[:axis], layer.source(blob)
    if operation in ("ASUM", "SUMSQ"):
        blob = layer.add("abs" if operation == "ASUM" else "square", [blob], blob.shape)
    settings = {"axes": tuple(range(axis, blob.rank))}
    op, factor = "reduce_mean" if operation == "MEAN" else "reduce_sum", options.number("coeff", 1.0)
    if factor == 1:
        return layer.finish(op, [blob], shape, options=settings)
    blob = layer.add(op, [blob], shape, options=settings)
    return layer.finish("rescale", [blob], shape, options={"scale": factor})


def _find_largest(layer: Layer) -> Blob:
    layer.check_counts(1)
    options, blob = layer.options("argmax"), layer.bottom
    count, values = options.integer("top_k", 1, least=1), options.flag("out_max_val", False)
    rank = max(blob.rank, 2)
    if "axis" in options:
        axis = layer.example_axis(options.integer("axis", 1, least=-32, most=32), blob)
        shape = (*blob.shape[:axis], count, *blob.shape[axis + 1 :])
        size, held = blob.shape[axis], blob.axis(axis)
    else:
        flat = layer.source(blob)
        flat = layer.add("flatten", [flat], (None,)) if flat.rank != 1 else flat
        size, held, shape = None, 0, (count,)
        blob = flat
    if size is not None and count > size:
        raise layer.error(f"its top_k {count} is more than {size} entries.")
    settings = {"axis": held, "count": count, "ties": "last"}
    if "axis" in options:
        settings |= {"indices": not values}
        return layer.finish("top_k", [blob], shape, last=blob.last, options=settings)
    found = [layer.add("top_k", [blob], shape, options={**settings, "indices": True})]
    if values:
        found.append(layer.add("top_k", [blob], shape, options={**settings, "indices": False}))
    blob = layer.add("stack", found, (len(found), count), options={"axis": 0})
    shape = (len(found), count, *[1] * (rank - 2))
    return layer.finish("reshape", [blob], shape, options={"shape": shape})


def _interpolate(layer: Layer) -> Blob:
    """Imports ``Interp`` of DeepLab and PSPNet: bilinear, corners on corners."""
    layer.check_counts((1, 2))
    options, blob = layer.options("interp"), layer.image()
    begin, end = (options.integer(field, 0, least=-(1 << 16), most=0) for field in ("pad_beg", "pad_end"))
    shape = (blob.shape[0], *(None if n is None else n + begin + end for n in blob.shape[1:]))
    if begin or end:
        pairs = ((begin, end), (begin, end), (0, 0))
        blob = layer.add("pad", [blob], shape, last=True, options={"padding": pairs})
    settings: dict[str, object] = {"method": "bilinear", "corners": "align"}
    if len(layer.bottoms) == 2:
        like = layer.image(1)
        shape = (shape[0], *like.shape[1:])
        return layer.finish("resize", [blob, like], shape, last=True, options=settings)
    zoom, shrink = (options.integer(field, 1, least=1, most=_MOST_TIMES) for field in ("zoom_factor", "shrink_factor"))
    if "height" in options or "width" in options:
        size = tuple(options.integer(field, 0, least=1, most=1 << 16) for field in ("height", "width"))
        return layer.finish("resize", [blob], (shape[0], *size), last=True, options={**settings, "size": size})
    if zoom > 1 and shrink > 1:
        if None in shape[1:]:
            raise Unsupported("by two factors of a size that the file does not state")
        size = tuple(((n - 1) // shrink) * zoom + 1 for n in shape[1:] if n is not None)
        return layer.finish("resize", [blob], (shape[0], *size), last=True, options={**settings, "size": size})
    factor = float(zoom) if shrink == 1 else 1 / shrink
    shape = (shape[0], *(None if n is None else (n - 1) // shrink * zoom + 1 for n in shape[1:]))
    return layer.finish("resize", [blob], shape, last=True, options={**settings, "scale": factor})


def _enlarge(layer: Layer) -> Blob:
    """Imports ``Upsample`` of YOLO's fork: pixels are repeated."""
    if len(layer.bottoms) == 2:
        raise Unsupported("to the places of maxima")
    layer.check_counts(1)
    options, blob = layer.options("upsample"), layer.image()
    scale = options.integer("scale", 2, least=1, most=_MOST_TIMES)
    shape = (blob.shape[0], *(None if n is None else n * scale for n in blob.shape[1:]))
    settings = {"scale": scale, "method": "nearest", "corners": "asymmetric"}
    return layer.finish("resize", [blob], shape, last=True, options=settings)


def _place_boxes(layer: Layer) -> Blob:
    layer.check_counts(2)
    options, maps, image = layer.options("prior_box"), layer.image(0), layer.image(1)
    least, most = options.numbers("min_size"), options.numbers("max_size")
    ratios, variances = options.numbers("aspect_ratio"), options.numbers("variance")
    if not least or min(least) <= 0 or (most and len(most) != len(least)):
        raise layer.error(f"it must have positive sizes, and as many of both kinds, got {least} and {most}.")
    if any(high <= low for high, low in zip(most, least, strict=False)) or any(ratio <= 0 for ratio in ratios):
        raise layer.error(f"its largest sizes {most} must exceed {least}, and its ratios {ratios} be positive.")
    if len(variances) not in (0, 1, 4) or any(one <= 0 for one in variances):
        raise layer.error(f"it must have one or four positive variances, got {variances}.")
    settings: dict[str, object] = {
        "min_sizes": least,
        "max_sizes": most,
        "aspect_ratios": ratios,
        "flip": options.flag("flip", True),
        "clip": options.flag("clip", False),
        "variances": variances or (0.1,),
        "offset": options.number("offset", 0.5),
    }
    for field, pair, what in (
        ("step", ("step_h", "step_w"), "step_size"),
        ("img_size", ("img_h", "img_w"), "image_size"),
    ):
        if any(one in options for one in pair) or field in options:
            both = pair if any(one in options for one in pair) else (field, field)
            sizes = tuple(options.number(one, 0.0) for one in both)
            if min(sizes) <= 0:
                raise layer.error(f"its {' and '.join(dict.fromkeys(both))} must be positive, got {sizes}.")
            settings[what] = sizes
    known = [1.0]
    for ratio in ratios:
        if all(abs(ratio - one) >= 1e-6 for one in known):
            known += [ratio, 1 / ratio] if settings["flip"] else [ratio]
    total: int | None = 4 * (len(known) * len(least) + len(most))
    for size in maps.shape[1:]:
        total = None if size is None or total is None else total * size
    if total is not None and total > 4 * _MOST_BOXES:
        raise layer.error(f"it would place {total // 4:,} boxes.")
    return layer.finish("prior_box", [maps, image], (2, total), options=settings)


READING_LAYERS: Mapping[str, LayerRule] = {
    "Softmax": _softmax,
    "Reduction": _reduce,
    "ArgMax": _find_largest,
    "Interp": _interpolate,
    "Upsample": _enlarge,
    "PriorBox": _place_boxes,
}
"""Type to how it is imported."""
