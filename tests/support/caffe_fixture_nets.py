"""Networks that together hold every layer of Caffe that is imported, each with most of its options.

Every layer reads ``data`` or what an earlier one wrote, and all are compared. ``OPENCV`` names those of which the
fixtures hold what OpenCV computes; the others, of forks or without an implementation there, are compared with
``caffe_rules`` alone.
"""

from typing import Any

from tests.support.caffe_nets import Layers, data_layer, draw_blob, layer

_b = draw_blob


def _conv(name: str, *weights: int, bias: bool = True, kind: str = "Convolution", bottom: str = "data", **fields: Any):
    """Describes a convolution with a kernel of a shape as Caffe stores it."""
    filters = weights[1] * fields.get("group", 1) if kind == "Deconvolution" else weights[0]
    params = {"num_output": filters, **({} if bias else {"bias_term": False}), **fields}
    blobs = [_b(*weights, seed=len(name))] + ([_b(filters, seed=1)] if bias else [])
    return layer(kind, name, bottom, convolution=params, blobs=blobs)


KERNELS: Layers = [
    data_layer(2, 6, 9, 11),
    _conv("plain", 4, 6, 3, 3, kernel_size=[3]),
    _conv("sides", 4, 6, 2, 3, kernel_h=2, kernel_w=3, stride_h=2, stride_w=1, pad_h=1, pad_w=2),
    _conv("dilated", 4, 6, 3, 3, kernel_size=[3], dilation=[2], pad=[2], bias=False),
    _conv("grouped", 4, 3, 3, 3, kernel_size=[3], group=2, stride=[2], pad=[1]),
    _conv("depthwise", 6, 1, 3, 3, kernel_size=[3], group=6, pad=[1], stride=[2]),
    _conv("multiplied", 12, 1, 3, 3, kernel_size=[3], group=6),
    _conv("back", 6, 4, 4, 4, kind="Deconvolution", kernel_size=[4], stride=[2], pad=[1]),
    _conv("back_grouped", 6, 2, 3, 3, kind="Deconvolution", kernel_size=[3], stride=[2], group=2),
    _conv("back_each", 6, 1, 4, 4, kind="Deconvolution", kernel_size=[4], stride=[2], pad=[1], group=6, bias=False),
    layer("InnerProduct", "dense", inner_product={"num_output": 5}, blobs=[_b(5, 594), _b(5)]),
    layer("InnerProduct", "again", "dense", inner_product={"num_output": 3, "bias_term": False}, blobs=[_b(3, 5)]),
    layer("InnerProduct", "rows", inner_product={"num_output": 3, "axis": 2}, blobs=[_b(3, 99), _b(3)]),
]

POOLS: Layers = [
    data_layer(2, 4, 8, 11),
    layer("Pooling", "max", pooling={"pool": "MAX", "kernel_size": 3, "stride": 2}),
    layer("Pooling", "max_pad", pooling={"pool": "MAX", "kernel_size": 3, "stride": 2, "pad": 1}),
    layer("Pooling", "ave", pooling={"pool": "AVE", "kernel_size": 3, "stride": 2}),
    layer("Pooling", "ave_pad", pooling={"pool": "AVE", "kernel_size": 3, "stride": 2, "pad": 1}),
    layer("Pooling", "ave_same", pooling={"pool": "AVE", "kernel_size": 3, "stride": 1, "pad": 1}),
    layer("Pooling", "sides", pooling={"pool": "MAX", "kernel_h": 2, "kernel_w": 4, "stride_h": 1, "stride_w": 3}),
    layer("Pooling", "whole", pooling={"pool": "AVE", "global_pooling": True}),
    layer("Pooling", "whole_max", pooling={"pool": "MAX", "global_pooling": True}),
    layer("Pooling", "floor", pooling={"pool": "MAX", "kernel_size": 3, "stride": 2, "ceil_mode": False}),
    layer("PReLU", "prelu", blobs=[_b(4)]),
    layer("LRN", "across", lrn={"local_size": 3, "alpha": 0.7, "beta": 0.6, "k": 2.0}),
    layer("LRN", "across_default"),
    layer("LRN", "within", lrn={"local_size": 3, "alpha": 0.7, "norm_region": "WITHIN_CHANNEL"}),
]

_STATISTICS = [_b(4), _b(4, low=0.2, high=2.0), _b(1, low=2, high=3)]

NORMALIZERS: Layers = [
    data_layer(2, 4, 5, 3),
    layer("BatchNorm", "batch", blobs=_STATISTICS),
    layer("BatchNorm", "batch_eps", batch_norm={"eps": 0.1, "use_global_stats": True}, blobs=_STATISTICS),
    layer("Scale", "scale", blobs=[_b(4)]),
    layer("Scale", "scale_bias", scale={"bias_term": True}, blobs=[_b(4), _b(4, seed=1)]),
    layer("PReLU", "prelu", blobs=[_b(4)]),
    layer("PReLU", "prelu_shared", prelu={"channel_shared": True}, blobs=[_b(1)]),
    layer("Normalize", "norm", norm={"across_spatial": False, "channel_shared": False}, blobs=[_b(4)]),
    layer("Normalize", "norm_all", blobs=[_b(1)]),
    layer("MVN", "mvn"),
    layer("MVN", "mvn_across", mvn={"across_channels": True}),
    layer("MVN", "mvn_mean", mvn={"normalize_variance": False}),
    layer("Convolution", "c", convolution={"num_output": 4, "kernel_size": [1]}, blobs=[_b(4, 4, 1, 1), _b(4)]),
    layer("BatchNorm", "c_bn", "c", "c", blobs=_STATISTICS),
    layer("Scale", "c_scale", "c", "c", scale={"bias_term": True}, blobs=[_b(4), _b(4, seed=1)]),
    layer("ReLU", "c_relu", "c", "c"),
    layer("Eltwise", "sum", "c data"),
]

FUNCTIONS: Layers = [
    data_layer(2, 4, 5, 3),
    layer("PReLU", "prelu", blobs=[_b(4)]),
    layer("ReLU", "relu"),
    layer("ReLU", "leaky", relu={"negative_slope": 0.1}),
    layer("ReLU6", "relu6"),
    layer("ELU", "elu"),
    layer("Sigmoid", "sigmoid"),
    layer("TanH", "tanh"),
    layer("AbsVal", "abs"),
    layer("BNLL", "bnll"),
    layer("Power", "linear", power={"scale": 2.0, "shift": -0.5}),
    layer("Power", "square", power={"power": 2.0, "scale": 0.5, "shift": 0.25}),
    layer("Power", "root", "abs", power={"power": 0.5, "scale": 2.0, "shift": 0.1}),
    layer("Power", "inverse", "abs", power={"power": -1.0, "shift": 1.0}),
    layer("Eltwise", "add", "data relu"),
    layer("Eltwise", "weighted", "data relu abs", eltwise={"coeff": [0.5, -2.0, 1.0]}),
    layer("Eltwise", "times", "data relu sigmoid", eltwise={"operation": "PROD"}),
    layer("Eltwise", "greatest", "relu sigmoid tanh", eltwise={"operation": "MAX"}),
    layer("Dropout", "drop", dropout={"dropout_ratio": 0.4}),
]

MOVING: Layers = [
    data_layer(2, 4, 6, 5),
    layer("Concat", "channels", "data data"),
    layer("Concat", "rows", "data data", concat={"axis": 2}),
    layer("Concat", "old", "data data", concat={"concat_dim": 3}),
    layer("Slice", "cut", top="cut_a cut_b cut_c", slice={"axis": 1, "slice_point": [1, 3]}),
    layer("Slice", "halves", top="half_a half_b", slice={"axis": 2}),
    layer("Eltwise", "halves_sum", "half_a half_b"),
    layer("Eltwise", "cut_sum", "cut_a cut_c"),
    layer("Permute", "last", permute={"order": [0, 2, 3, 1]}),
    layer("Permute", "turned", permute={"order": [0, 1, 3, 2]}),
    layer("Permute", "first", "last", permute={"order": [0, 3, 1, 2]}),
    layer("Flatten", "flat"),
    layer("Flatten", "flat_last", "last"),
    layer("Flatten", "flat_maps", flatten={"axis": 2}),
    layer("Flatten", "flat_some", flatten={"axis": 1, "end_axis": 2}),
    layer("Reshape", "folded", reshape={"shape": {"dim": [0, 2, -1, 5]}}),
    layer("Reshape", "boxes", "last", reshape={"shape": {"dim": [0, -1, 4]}}),
    layer("Reshape", "inner", reshape={"shape": {"dim": [-1, 2]}, "axis": 1, "num_axes": 1}),
    layer("Softmax", "prob"),
    layer("Softmax", "prob_boxes", "boxes", softmax={"axis": 2}),
    layer("Softmax", "prob_columns", softmax={"axis": 3}),
    layer("Crop", "cropped", "rows data", crop={"axis": 2, "offset": [3, 0]}),
    layer(
        "Convolution",
        "behind",
        "folded",
        convolution={"num_output": 3, "kernel_size": [1]},
        blobs=[_b(3, 2, 1, 1), _b(3)],
    ),
    layer("InnerProduct", "dense_last", "last", inner_product={"num_output": 3}, blobs=[_b(3, 120), _b(3)]),
    layer(
        "PriorBox",
        "priors",
        "data image",
        prior_box={"min_size": [3.0], "max_size": [6.0], "aspect_ratio": [2.0], "variance": [0.1]},
    ),
    layer(
        "PriorBox",
        "priors_clip",
        "data image",
        prior_box={
            **{
                "min_size": [3.0, 9.0],
                "aspect_ratio": [2.0, 3.0],
                "flip": False,
                "clip": True,
                "step": 4.0,
                "offset": 0.0,
            },
            "variance": [0.1, 0.1, 0.2, 0.2],
        },
    ),
]
MOVING.insert(1, data_layer(2, 3, 24, 20, name="image"))

OPENCV = {"kernels": KERNELS, "pools": POOLS, "normalizers": NORMALIZERS, "functions": FUNCTIONS, "moving": MOVING}
"""Name to network."""

_FORKS: Layers = [
    data_layer(2, 4, 6, 8),
    _conv("each", 4, 1, 3, 3, kind="ConvolutionDepthwise", kernel_size=[3], pad=[1]),
    _conv("twice", 3, 4, 3, 3, kernel_size=[3], dilation=[2], stride=[2]),
    _conv("dilated_back", 4, 3, 3, 2, kind="Deconvolution", kernel_h=3, kernel_w=2, dilation=[2], pad=[1]),
    layer("Convolution", "shared", "data relu", "shared_a shared_b", convolution={"num_output": 2, "kernel_size": [1]}),
    layer("InnerProduct", "turned", inner_product={"num_output": 3, "transpose": True}, blobs=[_b(192, 3), _b(3)]),
    layer("Pooling", "stochastic", "abs", pooling={"pool": "STOCHASTIC", "kernel_size": 3, "stride": 2}),
    layer("Pooling", "floor", pooling={"pool": "AVE", "kernel_size": 3, "stride": 2, "round_mode": "FLOOR"}),
    layer("LRN", "within", lrn={"local_size": 5, "norm_region": "WITHIN_CHANNEL", "k": 7.0}),
    layer("BatchNorm", "batch", blobs=[*_STATISTICS, _b(4, seed=1), _b(4, seed=2)]),
    layer("BN", "segnet", blobs=[_b(1, 4, 1, 1), _b(1, 4, 1, 1, seed=1)]),
    layer("BN", "pspnet", blobs=[*(_b(1, 4, 1, 1, seed=i) for i in range(3)), _b(1, 4, 1, 1, low=0.5)]),
    layer("Scale", "maps", scale={"axis": 2, "num_axes": 2, "bias_term": True}, blobs=[_b(6, 8), _b(6, 8, seed=1)]),
    layer("Scale", "all", scale={"axis": 1, "num_axes": -1}, blobs=[_b(4, 6, 8)]),
    layer("Scale", "one", scale={"num_axes": 0, "bias_term": True}, blobs=[_b(), _b(seed=1)]),
    layer("Scale", "columns", scale={"axis": -1}, blobs=[_b(8)]),
    layer("Bias", "shift", blobs=[_b(4)]),
    layer("Bias", "shift_some", bias={"axis": 1, "num_axes": 2}, blobs=[_b(4, 6)]),
    layer("InnerProduct", "gate", inner_product={"num_output": 4}, blobs=[_b(4, 192), _b(4)]),
    layer("Scale", "gated", "data gate", scale={"axis": 0}),
    layer("Bias", "shifted", "data gate", bias={"axis": 0}),
    layer("Axpy", "axpy", "gate data relu"),
    layer("PReLU", "prelu_vector", "gate", blobs=[_b(4)]),
    layer("BatchNorm", "batch_vector", "gate", blobs=_STATISTICS),
    layer("MVN", "mvn_vector", "gate", mvn={"across_channels": True, "eps": 0.01}),
    layer("ReLU", "relu"),
    layer("AbsVal", "abs"),
    layer("Exp", "exp", exp={"base": 2.0, "scale": 0.5, "shift": 0.1}),
    layer("Exp", "exp_e"),
    layer("Log", "log", "abs", log={"base": 10.0, "scale": 2.0, "shift": 0.1}),
    layer("Log", "log_e", "abs", log={"shift": 0.5}),
    layer("Threshold", "threshold", threshold={"threshold": 0.3}),
    layer("Clip", "clip", clip={"min": -0.3, "max": 0.6}),
    layer("ELU", "elu", elu={"alpha": 0.3}),
    layer("Swish", "swish"),
    layer("Swish", "swish_beta", swish={"beta": 1.5}),
    layer("HardSwish", "hard_swish"),
    layer("Mish", "mish"),
    layer("Dropout", "drop", dropout={"dropout_ratio": 0.4, "scale_train": False}),
    layer("Split", "split", top="split_a split_b"),
    layer("Eltwise", "split_sum", "split_a split_b"),
    layer("Tile", "tile", tile={"tiles": 3}),
    layer("Tile", "tile_rows", tile={"axis": 2, "tiles": 2}),
    layer("ShuffleChannel", "shuffle", shuffle_channel={"group": 2}),
    layer("Reduction", "reduced", reduction={"axis": 1, "operation": "SUMSQ", "coeff": 0.5}),
    layer("Reduction", "reduced_rows", reduction={"axis": 2, "operation": "MEAN"}),
    layer("Reduction", "reduced_abs", reduction={"axis": 3, "operation": "ASUM"}),
    layer("ArgMax", "best"),
    layer("ArgMax", "best_values", argmax={"out_max_val": True, "top_k": 3}),
    layer("ArgMax", "best_vector", "gate", argmax={"top_k": 2}),
    layer("ArgMax", "best_channel", "rounded", argmax={"axis": 1}),
    layer("ArgMax", "best_rows", argmax={"axis": 2, "top_k": 2, "out_max_val": True}),
    layer("Interp", "zoom", interp={"zoom_factor": 2}),
    layer("Interp", "shrink", interp={"shrink_factor": 2, "pad_beg": -1}),
    layer("Interp", "both", interp={"shrink_factor": 2, "zoom_factor": 3}),
    layer("Interp", "sized", interp={"height": 9, "width": 4}),
    layer("Upsample", "upsample", upsample={"scale": 2}),
    layer("Crop", "crop", "upsample data", crop={"axis": 2, "offset": [2]}),
    layer("Concat", "mixed", "data shuffled", concat={"axis": 1}),
    layer("Eltwise", "mixed_sum", "shuffled data"),
    layer("PReLU", "prelu_source", "shuffled", blobs=[_b(4)]),
    layer("BatchNorm", "batch_source", "shuffled", blobs=_STATISTICS),
    layer("Scale", "scale_source", "shuffled", blobs=[_b(4)]),
    layer("Scale", "gated_source", "shuffled gate", scale={"axis": 0}),
    layer("MVN", "mvn_source", "shuffled"),
    layer("Slice", "slice_source", "shuffled", "slice_a slice_b", slice={"slice_dim": 1}),
    layer("Pooling", "pool_source", "shuffled", pooling={"kernel_size": 2, "stride": 2}),
    layer("Flatten", "flat_end", "gate"),
    layer(
        "PriorBox",
        "priors",
        "data data",
        prior_box={
            "min_size": [3.0],
            "img_h": 30,
            "img_w": 20,
            "step_h": 5.0,
            "step_w": 4.0,
            "aspect_ratio": [1.0, 2.0, 0.5],
        },
    ),
    {
        "name": "filled",
        "type": "DummyData",
        "bottom": [],
        "top": ["filled"],
        "dummy_data_param": {"shape": {"dim": [2, 4, 6, 8]}, "data_filler": [{"type": "constant", "value": 0.5}]},
    },
    layer("Eltwise", "filled_sum", "data filled"),
]


def _order(layers: Layers) -> Layers:
    """Sorts layers so that each comes after those that it reads; a few are added that others above read."""
    layers = [*layers, layer("Reshape", "shuffled", reshape={"shape": {"dim": [0, 4, 6, 8]}})]
    layers.append(layer("Threshold", "rounded"))
    done, result, left = {"data"}, [layers[0]], layers[1:]
    while left:
        ready = next(one for one in left if done.issuperset(one["bottom"]))
        left.remove(ready)
        result.append(ready)
        done.update(ready["top"])
    return result


FORKS = _order(_FORKS)
next(one for one in FORKS if one["name"] == "shared")["blobs"] = [_b(2, 4, 1, 1), _b(2)]

VOLUMES: Layers = [
    data_layer(2, 3, 4, 5, 6),
    _conv("conv3d", 4, 3, 3, 2, 3, kernel_size=[3, 2, 3], stride=[1, 2, 1], pad=[1]),
    layer("ReLU", "relu", "conv3d", "conv3d"),
    layer("BatchNorm", "bn3d", "conv3d", blobs=_STATISTICS),
    layer("Reshape", "rows", "data", reshape={"shape": {"dim": [0, 0, -1]}}),
    _conv("conv1d", 2, 3, 5, bottom="rows", kernel_size=[5]),
    layer("InnerProduct", "dense", "conv1d", inner_product={"num_output": 3}, blobs=[_b(3, 232), _b(3)]),
]

WORDS: Layers = [
    data_layer(2, 5, name="words"),
    layer("Embed", "embed", "words", embed={"num_output": 3, "input_dim": 7}, blobs=[_b(7, 3), _b(3)]),
    layer("InnerProduct", "dense", "embed", inner_product={"num_output": 2, "axis": 2}, blobs=[_b(2, 3), _b(2)]),
    layer("Softmax", "prob", "dense", softmax={"axis": -1}),
]

OTHERS = {"forks": FORKS, "volumes": VOLUMES, "words": WORDS}
"""Name to network, of those that OpenCV does not run, or not as Caffe."""

SOURCE_ORDER = ("Reshape", "Permute", "Flatten", "PriorBox", "Reduction", "Embed", "InnerProduct")
"""Types whose results keep Caffe's order of axes, as do those of layers that read only such results."""


def draw_inputs(layers: Layers) -> dict[str, Any]:
    """Draws the inputs of a network, in Caffe's order."""
    found = {}
    for one in layers:
        if one["type"] == "Input":
            shape, name = one["input_param"]["shape"][0]["dim"], one["name"]
            draw = _b(*shape, seed=7)
            found[name] = (abs(draw) * 6.9).astype(int).astype(draw.dtype) if name == "words" else draw
    return found
