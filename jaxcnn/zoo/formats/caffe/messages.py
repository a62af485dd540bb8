"""The messages that Caffe's files consist of, the same in their binary and their text format."""

from collections.abc import Mapping
from typing import Any

from jaxcnn.zoo.containers.protobuf_schema import (
    BOOL,
    BYTES,
    DOUBLE,
    FLOAT,
    INT,
    TEXT,
    UINT,
    Enumeration,
    Kind,
    Message,
    Repeated,
)

__all__ = ["BLOB", "LAYER", "NET", "OLD_LAYER", "from_text"]

_SHAPE = Message({1: ("dim", Repeated(INT))})
_FILLER = Message(
    {
        1: ("type", TEXT),
        2: ("value", FLOAT),
        3: ("min", FLOAT),
        4: ("max", FLOAT),
        5: ("mean", FLOAT),
        6: ("std", FLOAT),
    }
)

BLOB = Message(
    {
        1: ("num", INT),
        2: ("channels", INT),
        3: ("height", INT),
        4: ("width", INT),
        5: ("data", Repeated(FLOAT)),
        7: ("shape", _SHAPE),
        8: ("double_data", Repeated(DOUBLE)),
    }
)
"""Values and their shape, in four numbers or, since 2015, in any."""

_PARAMETERS: dict[str, dict[int, tuple[str, Kind]]] = {
    "transform": {
        1: ("scale", FLOAT),
        2: ("mirror", BOOL),
        3: ("crop_size", UINT),
        4: ("mean_file", TEXT),
        5: ("mean_value", Repeated(FLOAT)),
        6: ("force_color", BOOL),
        7: ("force_gray", BOOL),
    },
    "accuracy": {1: ("top_k", UINT), 2: ("axis", INT), 3: ("ignore_label", INT)},
    "argmax": {1: ("out_max_val", BOOL), 2: ("top_k", UINT), 3: ("axis", INT)},
    "batch_norm": {1: ("use_global_stats", BOOL), 2: ("moving_average_fraction", FLOAT), 3: ("eps", FLOAT)},
    "bias": {1: ("axis", INT), 2: ("num_axes", INT), 3: ("filler", _FILLER)},
    "clip": {1: ("min", FLOAT), 2: ("max", FLOAT)},
    "concat": {1: ("concat_dim", UINT), 2: ("axis", INT)},
    "convolution": {
        1: ("num_output", UINT),
        2: ("bias_term", BOOL),
        3: ("pad", Repeated(UINT)),
        4: ("kernel_size", Repeated(UINT)),
        5: ("group", UINT),
        6: ("stride", Repeated(UINT)),
        7: ("weight_filler", _FILLER),
        8: ("bias_filler", _FILLER),
        9: ("pad_h", UINT),
        10: ("pad_w", UINT),
        11: ("kernel_h", UINT),
        12: ("kernel_w", UINT),
        13: ("stride_h", UINT),
        14: ("stride_w", UINT),
        15: ("engine", Enumeration("DEFAULT", "CAFFE", "CUDNN")),
        16: ("axis", INT),
        17: ("force_nd_im2col", BOOL),
        18: ("dilation", Repeated(UINT)),
    },
    "crop": {1: ("axis", INT), 2: ("offset", Repeated(UINT))},
    "dropout": {1: ("dropout_ratio", FLOAT)},
    "eltwise": {
        1: ("operation", Enumeration("PROD", "SUM", "MAX")),
        2: ("coeff", Repeated(FLOAT)),
        3: ("stable_prod_grad", BOOL),
    },
    "elu": {1: ("alpha", FLOAT)},
    "embed": {1: ("num_output", UINT), 2: ("input_dim", UINT), 3: ("bias_term", BOOL)},
    "exp": {1: ("base", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "flatten": {1: ("axis", INT), 2: ("end_axis", INT)},
    "inner_product": {
        1: ("num_output", UINT),
        2: ("bias_term", BOOL),
        3: ("weight_filler", _FILLER),
        4: ("bias_filler", _FILLER),
        5: ("axis", INT),
        6: ("transpose", BOOL),
    },
    "input": {1: ("shape", Repeated(_SHAPE))},
    "log": {1: ("base", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "lrn": {
        1: ("local_size", UINT),
        2: ("alpha", FLOAT),
        3: ("beta", FLOAT),
        4: ("norm_region", Enumeration("ACROSS_CHANNELS", "WITHIN_CHANNEL")),
        5: ("k", FLOAT),
    },
    "mvn": {1: ("normalize_variance", BOOL), 2: ("across_channels", BOOL), 3: ("eps", FLOAT)},
    "pooling": {
        1: ("pool", Enumeration("MAX", "AVE", "STOCHASTIC")),
        2: ("kernel_size", UINT),
        3: ("stride", UINT),
        4: ("pad", UINT),
        5: ("kernel_h", UINT),
        6: ("kernel_w", UINT),
        7: ("stride_h", UINT),
        8: ("stride_w", UINT),
        9: ("pad_h", UINT),
        10: ("pad_w", UINT),
        12: ("global_pooling", BOOL),
        13: ("round_mode", Enumeration("CEIL", "FLOOR")),
    },
    "power": {1: ("power", FLOAT), 2: ("scale", FLOAT), 3: ("shift", FLOAT)},
    "prelu": {1: ("filler", _FILLER), 2: ("channel_shared", BOOL)},
    "recurrent": {1: ("num_output", UINT)},
    "reduction": {
        1: ("operation", Enumeration("0", "SUM", "ASUM", "SUMSQ", "MEAN")),
        2: ("axis", INT),
        3: ("coeff", FLOAT),
    },
    "relu": {1: ("negative_slope", FLOAT)},
    "reshape": {1: ("shape", _SHAPE), 2: ("axis", INT), 3: ("num_axes", INT)},
    "scale": {
        1: ("axis", INT),
        2: ("num_axes", INT),
        3: ("filler", _FILLER),
        4: ("bias_term", BOOL),
        5: ("bias_filler", _FILLER),
    },
    "slice": {1: ("slice_dim", UINT), 2: ("slice_point", Repeated(UINT)), 3: ("axis", INT)},
    "softmax": {2: ("axis", INT)},
    "swish": {1: ("beta", FLOAT)},
    "threshold": {1: ("threshold", FLOAT)},
    "tile": {1: ("axis", INT), 2: ("tiles", INT)},
    # The fork for detection with single-shot boxes.
    "permute": {1: ("order", Repeated(UINT))},
    "norm": {1: ("across_spatial", BOOL), 3: ("channel_shared", BOOL), 4: ("eps", FLOAT)},
    "prior_box": {
        1: ("min_size", Repeated(FLOAT)),
        2: ("max_size", Repeated(FLOAT)),
        3: ("aspect_ratio", Repeated(FLOAT)),
        4: ("flip", BOOL),
        5: ("clip", BOOL),
        6: ("variance", Repeated(FLOAT)),
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
_OLD_NAMES: dict[str, str] = dict(zip(_OLD_WORDS.split(), _OLD_TYPES.split(), strict=True))

_PHASE = Enumeration("TRAIN", "TEST")
_RULE = Message({1: ("phase", _PHASE), 4: ("stage", Repeated(TEXT)), 5: ("not_stage", Repeated(TEXT))})

LAYER = Message(
    {
        1: ("name", TEXT),
        2: ("type", TEXT),
        3: ("bottom", Repeated(TEXT)),
        4: ("top", Repeated(TEXT)),
        7: ("blobs", Repeated(BYTES)),
        8: ("include", Repeated(_RULE)),
        9: ("exclude", Repeated(_RULE)),
        10: ("phase", _PHASE),
        **{number: (f"{name}_param", Message(_PARAMETERS[name])) for name, number in _NUMBERS.items()},
    }
)
"""A layer; its blobs are views, to be read one at a time."""

OLD_LAYER = Message(
    {
        1: ("layer", BYTES),
        3: ("top", Repeated(TEXT)),
        4: ("name", TEXT),
        5: ("type", Enumeration(*_OLD_NAMES.values())),
        6: ("blobs", Repeated(BYTES)),
        32: ("include", Repeated(_RULE)),
        33: ("exclude", Repeated(_RULE)),
        **{number: (f"{name}_param", Message(_PARAMETERS[name])) for name, number in _OLD_NUMBERS.items()},
    }
)
"""A layer as it was before 2014."""

NET = Message(
    {
        1: ("name", TEXT),
        2: ("layers", Repeated(OLD_LAYER)),
        3: ("input", Repeated(TEXT)),
        4: ("input_dim", Repeated(INT)),
        8: ("input_shape", Repeated(_SHAPE)),
        100: ("layer", Repeated(LAYER)),
    }
)
"""A network."""


def from_text(tree: Mapping[str, list[Any]], schema: Message) -> dict[str, Any]:
    """Converts a parsed text to the form that the binary message of the schema is read in.

    Args:
        tree: Name of field to the list of its values.
        schema: The message.

    Returns:
        Name to value; lists only where a field is repeated or, if it is unknown, occurs several times.

    Example:
        >>> from jaxcnn.zoo.formats.caffe.messages import NET, from_text
        >>> from_text({"layer": [{"name": ["a"], "convolution_param": [{"pad": [1]}]}]}, NET)
        {'layer': [{'name': 'a', 'convolution_param': {'pad': [1]}}]}
    """
    kinds = dict(schema.fields.values())
    result: dict[str, Any] = {}
    for name, values in tree.items():
        kind = kinds.get(name)
        repeated = isinstance(kind, Repeated) or (kind is None and len(values) > 1)
        single = kind.kind if isinstance(kind, Repeated) else kind
        inner = single if isinstance(single, Message) else Message({})
        found = [from_text(value, inner) if isinstance(value, dict) else _convert(value, single) for value in values]
        if values:
            result[name] = found if repeated else found[-1]
    return result


def _convert(value: Any, kind: Kind | None) -> Any:
    """Converts a value of a text to the form of the binary format."""
    if kind == FLOAT and isinstance(value, int):
        return float(value)
    if isinstance(kind, Enumeration):
        return kind.name(value) if isinstance(value, int) else _OLD_NAMES.get(value, value)
    return value
