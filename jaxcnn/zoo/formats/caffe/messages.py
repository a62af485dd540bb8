"""The messages that Caffe's files consist of, the same for their binary and their text form."""

from collections.abc import Mapping
from typing import Any

__all__ = ["BLOB", "LAYER", "NET", "OLD_LAYER", "from_text"]

_SHAPE = {1: ("dim", "int*")}
_FILLER = {1: ("type", "text"), 2: ("value", "float"), 3: ("min", "float"), 4: ("max", "float")}
_FILLER |= {5: ("mean", "float"), 6: ("std", "float")}

BLOB = {1: ("num", "int"), 2: ("channels", "int"), 3: ("height", "int"), 4: ("width", "int"), 5: ("data", "float*")}
BLOB |= {7: ("shape", _SHAPE), 8: ("double_data", "double*")}
"""Values and their shape, in four numbers or, since 2015, in any."""

_PARAMETERS: dict[str, dict[int, Any]] = {
    "transform": {
        1: ("scale", "float"),
        2: ("mirror", "bool"),
        3: ("crop_size", "uint"),
        4: ("mean_file", "text"),
        5: ("mean_value", "float*"),
        6: ("force_color", "bool"),
        7: ("force_gray", "bool"),
    },
    "accuracy": {1: ("top_k", "uint"), 2: ("axis", "int"), 3: ("ignore_label", "int")},
    "argmax": {1: ("out_max_val", "bool"), 2: ("top_k", "uint"), 3: ("axis", "int")},
    "batch_norm": {1: ("use_global_stats", "bool"), 2: ("moving_average_fraction", "float"), 3: ("eps", "float")},
    "bias": {1: ("axis", "int"), 2: ("num_axes", "int"), 3: ("filler", _FILLER)},
    "clip": {1: ("min", "float"), 2: ("max", "float")},
    "concat": {1: ("concat_dim", "uint"), 2: ("axis", "int")},
    "convolution": {
        1: ("num_output", "uint"),
        2: ("bias_term", "bool"),
        3: ("pad", "uint*"),
        4: ("kernel_size", "uint*"),
        5: ("group", "uint"),
        6: ("stride", "uint*"),
        7: ("weight_filler", _FILLER),
        8: ("bias_filler", _FILLER),
        9: ("pad_h", "uint"),
        10: ("pad_w", "uint"),
        11: ("kernel_h", "uint"),
        12: ("kernel_w", "uint"),
        13: ("stride_h", "uint"),
        14: ("stride_w", "uint"),
        15: ("engine", "enum:DEFAULT,CAFFE,CUDNN"),
        16: ("axis", "int"),
        17: ("force_nd_im2col", "bool"),
        18: ("dilation", "uint*"),
    },
    "crop": {1: ("axis", "int"), 2: ("offset", "uint*")},
    "dropout": {1: ("dropout_ratio", "float")},
    "eltwise": {1: ("operation", "enum:PROD,SUM,MAX"), 2: ("coeff", "float*"), 3: ("stable_prod_grad", "bool")},
    "elu": {1: ("alpha", "float")},
    "embed": {1: ("num_output", "uint"), 2: ("input_dim", "uint"), 3: ("bias_term", "bool")},
    "exp": {1: ("base", "float"), 2: ("scale", "float"), 3: ("shift", "float")},
    "flatten": {1: ("axis", "int"), 2: ("end_axis", "int")},
    "inner_product": {
        1: ("num_output", "uint"),
        2: ("bias_term", "bool"),
        3: ("weight_filler", _FILLER),
        4: ("bias_filler", _FILLER),
        5: ("axis", "int"),
        6: ("transpose", "bool"),
    },
    "input": {1: ("shape", [_SHAPE])},
    "log": {1: ("base", "float"), 2: ("scale", "float"), 3: ("shift", "float")},
    "lrn": {
        1: ("local_size", "uint"),
        2: ("alpha", "float"),
        3: ("beta", "float"),
        4: ("norm_region", "enum:ACROSS_CHANNELS,WITHIN_CHANNEL"),
        5: ("k", "float"),
    },
    "mvn": {1: ("normalize_variance", "bool"), 2: ("across_channels", "bool"), 3: ("eps", "float")},
    "pooling": {
        1: ("pool", "enum:MAX,AVE,STOCHASTIC"),
        2: ("kernel_size", "uint"),
        3: ("stride", "uint"),
        4: ("pad", "uint"),
        5: ("kernel_h", "uint"),
        6: ("kernel_w", "uint"),
        7: ("stride_h", "uint"),
        8: ("stride_w", "uint"),
        9: ("pad_h", "uint"),
        10: ("pad_w", "uint"),
        12: ("global_pooling", "bool"),
        13: ("round_mode", "enum:CEIL,FLOOR"),
    },
    "power": {1: ("power", "float"), 2: ("scale", "float"), 3: ("shift", "float")},
    "prelu": {1: ("filler", _FILLER), 2: ("channel_shared", "bool")},
    "recurrent": {1: ("num_output", "uint")},
    "reduction": {1: ("operation", "enum:0,SUM,ASUM,SUMSQ,MEAN"), 2: ("axis", "int"), 3: ("coeff", "float")},
    "relu": {1: ("negative_slope", "float")},
    "reshape": {1: ("shape", _SHAPE), 2: ("axis", "int"), 3: ("num_axes", "int")},
    "scale": {
        1: ("axis", "int"),
        2: ("num_axes", "int"),
        3: ("filler", _FILLER),
        4: ("bias_term", "bool"),
        5: ("bias_filler", _FILLER),
    },
    "slice": {1: ("slice_dim", "uint"), 2: ("slice_point", "uint*"), 3: ("axis", "int")},
    "softmax": {2: ("axis", "int")},
    "swish": {1: ("beta", "float")},
    "threshold": {1: ("threshold", "float")},
    "tile": {1: ("axis", "int"), 2: ("tiles", "int")},
    # The fork for detection with single-shot boxes.
    "permute": {1: ("order", "uint*")},
    "norm": {1: ("across_spatial", "bool"), 3: ("channel_shared", "bool"), 4: ("eps", "float")},
    "prior_box": {
        1: ("min_size", "float*"),
        2: ("max_size", "float*"),
        3: ("aspect_ratio", "float*"),
        4: ("flip", "bool"),
        5: ("clip", "bool"),
        6: ("variance", "float*"),
    },
}

_NUMBERS = {"transform": 100, "accuracy": 102, "argmax": 103, "concat": 104, "convolution": 106, "dropout": 108}
_NUMBERS |= {"eltwise": 110, "exp": 111, "inner_product": 117, "lrn": 118, "mvn": 120, "pooling": 121, "power": 122}
_NUMBERS |= {"relu": 123, "slice": 126, "softmax": 125, "threshold": 128, "prelu": 131, "reshape": 133, "log": 134}
_NUMBERS |= {"flatten": 135, "reduction": 136, "embed": 137, "tile": 138, "batch_norm": 139, "elu": 140, "bias": 141}
_NUMBERS |= {"scale": 142, "input": 143, "crop": 144, "recurrent": 146, "swish": 147, "clip": 148, "permute": 202}
_NUMBERS |= {"prior_box": 203, "norm": 206}

_OLD_NUMBERS = {"concat": 9, "convolution": 10, "dropout": 12, "inner_product": 17, "lrn": 18, "pooling": 19}
_OLD_NUMBERS |= {"power": 21, "argmax": 23, "eltwise": 24, "threshold": 25, "accuracy": 27, "relu": 30, "slice": 31}
_OLD_NUMBERS |= {"mvn": 34, "transform": 36, "softmax": 39, "exp": 41}

_OLD_TYPES = (
    "None Accuracy BNLL Concat Convolution Data Dropout EuclideanLoss Flatten HDF5Data HDF5Output Im2col ImageData "
    "InfogainLoss InnerProduct LRN MultinomialLogisticLoss Pooling ReLU Sigmoid Softmax SoftmaxWithLoss Split TanH "
    "WindowData Eltwise Power SigmoidCrossEntropyLoss HingeLoss MemoryData ArgMax Threshold DummyData Slice MVN AbsVal "
    "Silence ContrastiveLoss Exp Deconvolution"
)
_OLD_WORDS = (
    "NONE ACCURACY BNLL CONCAT CONVOLUTION DATA DROPOUT EUCLIDEAN_LOSS FLATTEN HDF5_DATA HDF5_OUTPUT IM2COL IMAGE_DATA "
    "INFOGAIN_LOSS INNER_PRODUCT LRN MULTINOMIAL_LOGISTIC_LOSS POOLING RELU SIGMOID SOFTMAX SOFTMAX_LOSS SPLIT TANH "
    "WINDOW_DATA ELTWISE POWER SIGMOID_CROSS_ENTROPY_LOSS HINGE_LOSS MEMORY_DATA ARGMAX THRESHOLD DUMMY_DATA SLICE MVN "
    "ABSVAL SILENCE CONTRASTIVE_LOSS EXP DECONVOLUTION"
)
_OLD_NAMES: dict[Any, str] = dict(zip(_OLD_WORDS.split(), _OLD_TYPES.split(), strict=True))

_RULE = {1: ("phase", "enum:TRAIN,TEST"), 4: ("stage", "text*"), 5: ("not_stage", "text*")}

LAYER: dict[int, Any] = {1: ("name", "text"), 2: ("type", "text"), 3: ("bottom", "text*"), 4: ("top", "text*")}
LAYER |= {7: ("blobs", "bytes*"), 8: ("include", [_RULE]), 9: ("exclude", [_RULE]), 10: ("phase", "enum:TRAIN,TEST")}
LAYER |= {number: (f"{name}_param", _PARAMETERS[name]) for name, number in _NUMBERS.items()}
"""A layer; its blobs are views, to be read one at a time."""

OLD_LAYER: dict[int, Any] = {4: ("name", "text"), 5: ("type", "enum:" + ",".join(_OLD_NAMES.values()))}
OLD_LAYER |= {
    1: ("layer", "bytes"),
    3: ("top", "text*"),
    6: ("blobs", "bytes*"),
    32: ("include", [_RULE]),
    33: ("exclude", [_RULE]),
}
OLD_LAYER |= {number: (f"{name}_param", _PARAMETERS[name]) for name, number in _OLD_NUMBERS.items()}
"""A layer as it was before 2014."""

NET: dict[int, Any] = {1: ("name", "text"), 2: ("layers", [OLD_LAYER]), 3: ("input", "text*"), 4: ("input_dim", "int*")}
NET |= {8: ("input_shape", [_SHAPE]), 100: ("layer", [LAYER])}
"""A network."""


def from_text(tree: Mapping[str, list[Any]], schema: Mapping[int, Any]) -> dict[str, Any]:
    """Gives a parsed text the form that the binary message of the schema has.

    Args:
        tree: Name of field to the list of its values.
        schema: The message.

    Returns:
        Name to value; lists only where a field is repeated or, if unknown, there several times.

    Example:
        >>> from_text({"layer": [{"name": ["a"], "convolution_param": [{"pad": [1]}]}]}, NET)
        {'layer': [{'name': 'a', 'convolution_param': {'pad': [1]}}]}
    """
    kinds = dict(schema.values())
    result: dict[str, Any] = {}
    for name, values in tree.items():
        kind = kinds.get(name, "*" if len(values) > 1 else "")
        inner = kind[0] if isinstance(kind, list) else kind if isinstance(kind, dict) else {}
        word = kind if isinstance(kind, str) else ""
        made = [from_text(value, inner) if isinstance(value, dict) else _worded(value, word) for value in values]
        if values:
            result[name] = made if isinstance(kind, list) or word.endswith("*") else made[-1]
    return result


def _worded(value: Any, kind: str) -> Any:
    """Gives a value of a text as the binary form has it."""
    if kind.startswith("float") and isinstance(value, int):
        return float(value)
    if kind.startswith("enum:"):
        names = kind[5:].split(",")
        known = isinstance(value, int) and 0 <= value < len(names)
        return names[value] if known else _OLD_NAMES.get(value, value)
    return value
