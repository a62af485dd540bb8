"""The operators of TensorFlow Lite: their names and their options."""

from typing import Any

from jaxcnn.zoo.containers.flatbuffer import FlatbufferTable

__all__ = ["OPERATORS", "operator_options"]

_NAMES = """
ADD AVERAGE_POOL_2D CONCATENATION CONV_2D DEPTHWISE_CONV_2D DEPTH_TO_SPACE DEQUANTIZE EMBEDDING_LOOKUP FLOOR
FULLY_CONNECTED HASHTABLE_LOOKUP L2_NORMALIZATION L2_POOL_2D LOCAL_RESPONSE_NORMALIZATION LOGISTIC LSH_PROJECTION LSTM
MAX_POOL_2D MUL RELU RELU_N1_TO_1 RELU6 RESHAPE RESIZE_BILINEAR RNN SOFTMAX SPACE_TO_DEPTH SVDF TANH CONCAT_EMBEDDINGS
SKIP_GRAM CALL CUSTOM EMBEDDING_LOOKUP_SPARSE PAD UNIDIRECTIONAL_SEQUENCE_RNN GATHER BATCH_TO_SPACE_ND SPACE_TO_BATCH_ND
TRANSPOSE MEAN SUB DIV SQUEEZE UNIDIRECTIONAL_SEQUENCE_LSTM STRIDED_SLICE BIDIRECTIONAL_SEQUENCE_RNN EXP TOPK_V2 SPLIT
LOG_SOFTMAX DELEGATE BIDIRECTIONAL_SEQUENCE_LSTM CAST PRELU MAXIMUM ARG_MAX MINIMUM LESS NEG PADV2 GREATER GREATER_EQUAL
LESS_EQUAL SELECT SLICE SIN TRANSPOSE_CONV SPARSE_TO_DENSE TILE EXPAND_DIMS EQUAL NOT_EQUAL LOG SUM SQRT RSQRT SHAPE POW
ARG_MIN FAKE_QUANT REDUCE_PROD REDUCE_MAX PACK LOGICAL_OR ONE_HOT LOGICAL_AND LOGICAL_NOT UNPACK REDUCE_MIN FLOOR_DIV
REDUCE_ANY SQUARE ZEROS_LIKE FILL FLOOR_MOD RANGE RESIZE_NEAREST_NEIGHBOR LEAKY_RELU SQUARED_DIFFERENCE MIRROR_PAD ABS
SPLIT_V UNIQUE CEIL REVERSE_V2 ADD_N GATHER_ND COS WHERE RANK ELU REVERSE_SEQUENCE MATRIX_DIAG QUANTIZE MATRIX_SET_DIAG
ROUND HARD_SWISH IF WHILE NON_MAX_SUPPRESSION_V4 NON_MAX_SUPPRESSION_V5 SCATTER_ND SELECT_V2 DENSIFY SEGMENT_SUM
BATCH_MATMUL PLACEHOLDER_FOR_GREATER_OP_CODES CUMSUM CALL_ONCE BROADCAST_TO RFFT2D CONV_3D IMAG REAL COMPLEX_ABS
HASHTABLE HASHTABLE_FIND HASHTABLE_IMPORT HASHTABLE_SIZE REDUCE_ALL CONV_3D_TRANSPOSE VAR_HANDLE READ_VARIABLE
ASSIGN_VARIABLE BROADCAST_ARGS RANDOM_STANDARD_NORMAL BUCKETIZE RANDOM_UNIFORM MULTINOMIAL GELU DYNAMIC_UPDATE_SLICE
RELU_0_TO_1 UNSORTED_SEGMENT_PROD UNSORTED_SEGMENT_MAX UNSORTED_SEGMENT_SUM ATAN2 UNSORTED_SEGMENT_MIN SIGN BITCAST
BITWISE_XOR RIGHT_SHIFT
"""

OPERATORS = tuple(_NAMES.split())
"""Names by number; those of StableHLO follow and are called ``OPERATOR_<number>``."""

_ACTIVATIONS = ("NONE", "RELU", "RELU_N1_TO_1", "RELU6", "TANH", "SIGN_BIT")
_VECTOR = "<i4"  # the code of vectors

# Name, field, code of ``struct``, and either the default or the names of an enumeration, whose default is the first.
_Option = tuple[str, int, str, int | float | bool | tuple[str, ...] | None]
_PADDING: _Option = ("padding", 0, "<b", ("SAME", "VALID"))
_STRIDES: list[_Option] = [_PADDING, ("stride_w", 1, "<i", 0), ("stride_h", 2, "<i", 0)]
_OPTIONS: dict[str, list[_Option]] = {
    "CONV_2D": [
        *_STRIDES,
        ("activation", 3, "<b", _ACTIVATIONS),
        ("dilation_w", 4, "<i", 1),
        ("dilation_h", 5, "<i", 1),
    ],
    "DEPTHWISE_CONV_2D": [
        *_STRIDES,
        ("depth_multiplier", 3, "<i", 0),
        ("activation", 4, "<b", _ACTIVATIONS),
        ("dilation_w", 5, "<i", 1),
        ("dilation_h", 6, "<i", 1),
    ],
    "TRANSPOSE_CONV": [*_STRIDES, ("activation", 3, "<b", _ACTIVATIONS)],
    "FULLY_CONNECTED": [
        ("activation", 0, "<b", _ACTIVATIONS),
        ("weights_format", 1, "<b", ("DEFAULT", "SHUFFLED4x16INT8")),
        ("keep_num_dims", 2, "<?", False),
    ],
    "CONCATENATION": [("axis", 0, "<i", 0), ("activation", 1, "<b", _ACTIVATIONS)],
    "RESHAPE": [("new_shape", 0, _VECTOR, None)],
    "SQUEEZE": [("squeeze_dims", 0, _VECTOR, None)],
    "SOFTMAX": [("beta", 0, "<f", 0.0)],
    "RESIZE_BILINEAR": [("align_corners", 2, "<?", False), ("half_pixel_centers", 3, "<?", False)],
    "RESIZE_NEAREST_NEIGHBOR": [("align_corners", 0, "<?", False), ("half_pixel_centers", 1, "<?", False)],
    "LEAKY_RELU": [("alpha", 0, "<f", 0.0)],
    "GELU": [("approximate", 0, "<?", False)],
    "GATHER": [("axis", 0, "<i", 0), ("batch_dims", 1, "<i", 0)],
    "PACK": [("values_count", 0, "<i", 0), ("axis", 1, "<i", 0)],
    "UNPACK": [("num", 0, "<i", 0), ("axis", 1, "<i", 0)],
    "SPLIT": [("num_splits", 0, "<i", 0)],
    "LOCAL_RESPONSE_NORMALIZATION": [
        ("radius", 0, "<i", 0),
        ("bias", 1, "<f", 0.0),
        ("alpha", 2, "<f", 0.0),
        ("beta", 3, "<f", 0.0),
    ],
    "STRIDED_SLICE": [
        ("begin_mask", 0, "<i", 0),
        ("end_mask", 1, "<i", 0),
        ("ellipsis_mask", 2, "<i", 0),
        ("new_axis_mask", 3, "<i", 0),
        ("shrink_axis_mask", 4, "<i", 0),
        ("offset", 5, "<?", False),
    ],
    "FAKE_QUANT": [
        ("min", 0, "<f", 0.0),
        ("max", 1, "<f", 0.0),
        ("num_bits", 2, "<i", 0),
        ("narrow_range", 3, "<?", False),
    ],
    "MIRROR_PAD": [("mode", 0, "<b", ("REFLECT", "SYMMETRIC"))],
    "BATCH_MATMUL": [("adj_x", 0, "<?", False), ("adj_y", 1, "<?", False)],
}
_OPTIONS |= {name: [("block_size", 0, "<i", 0)] for name in ("SPACE_TO_DEPTH", "DEPTH_TO_SPACE")}
_OPTIONS |= {name: [("activation", 0, "<b", _ACTIVATIONS)] for name in ("ADD", "SUB", "MUL", "DIV", "L2_NORMALIZATION")}
_OPTIONS |= {
    name: [*_STRIDES, ("filter_w", 3, "<i", 0), ("filter_h", 4, "<i", 0), ("activation", 5, "<b", _ACTIVATIONS)]
    for name in ("AVERAGE_POOL_2D", "MAX_POOL_2D", "L2_POOL_2D")
}
_OPTIONS |= {
    name: [("keep_dims", 0, "<?", False)]
    for name in ("MEAN", "SUM", "REDUCE_MAX", "REDUCE_MIN", "REDUCE_PROD", "REDUCE_ANY", "REDUCE_ALL")
}


def operator_options(name: str, table: FlatbufferTable | None) -> dict[str, Any]:
    """Reads the options of an operator, if its kind is known.

    Args:
        name: The operator's name.
        table: Its options, or None if the file has none.

    Returns:
        Option to value, enumerations by name; empty for operators whose options are not known.

    Raises:
        FormatError: If the table extends beyond the file.
    """
    result: dict[str, Any] = {}
    if table is None:
        return result
    for option, field, code, default in _OPTIONS.get(name, []):
        if default is None:
            result[option] = table.numbers(field, code).tolist()
        elif isinstance(default, tuple):
            value = table.number(field, code)
            result[option] = default[value] if 0 <= value < len(default) else value
        else:
            result[option] = table.number(field, code, default)
    return result
