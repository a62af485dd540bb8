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
    Scalar,
)
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.formats.caffe.earliest import EARLIEST_LAYER
from jaxcnn.zoo.formats.caffe.parameters import CURRENT_NUMBERS, EARLIER_NUMBERS, PARAMETERS, SHAPE

__all__ = ["BLOB", "LAYER", "NET", "OLD_LAYER", "from_text"]

BLOB = Message(
    {
        1: ("num", INT),
        2: ("channels", INT),
        3: ("height", INT),
        4: ("width", INT),
        5: ("data", Repeated(FLOAT)),
        7: ("shape", SHAPE),
        8: ("double_data", Repeated(DOUBLE)),
        10: ("raw_data_type", Enumeration("DOUBLE", "FLOAT", "FLOAT16", "INT", "UINT", "BOOL")),
        12: ("raw_data", BYTES),
    }
)
"""Values and their shape, in four numbers or, since 2015, in any; raw values are NVIDIA's."""

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

_OLD_KIND = Enumeration(*_OLD_NAMES.values())

_BOOLEANS = {"true": True, "True": True, "t": True, 1: True, "false": False, "False": False, "f": False, 0: False}
_FLOAT_WORDS = ("inf", "infinity", "nan", "-inf", "-infinity", "-nan")
_EXPECTED: dict[Scalar, str] = {
    BOOL: "true or false",
    FLOAT: "a number",
    DOUBLE: "a number",
    TEXT: "a text",
    BYTES: "a message",
}
_EXPECTED |= {INT: "an integer", UINT: "an integer of at least 0"}

_PHASE = Enumeration("TRAIN", "TEST")
_SHARE = Enumeration("STRICT", "PERMISSIVE")
_STATE = Message({1: ("phase", _PHASE), 2: ("level", INT), 3: ("stage", Repeated(TEXT))})
_RULE = Message(
    {
        1: ("phase", _PHASE),
        2: ("min_level", INT),
        3: ("max_level", INT),
        4: ("stage", Repeated(TEXT)),
        5: ("not_stage", Repeated(TEXT)),
    }
)
_SPEC = Message({1: ("name", TEXT), 2: ("share_mode", _SHARE), 3: ("lr_mult", FLOAT), 4: ("decay_mult", FLOAT)})
_DECISIVE = ("convolution", "inner_product")  # their parameters tell how kernels are laid out


def _list_parameters(numbers: Mapping[str, int]) -> dict[int, tuple[str, Kind]]:
    """Describes the fields of a layer that hold parameters; forks use some of the numbers for other messages."""
    return {
        number: (f"{name}_param", Message(PARAMETERS[name], optional=name not in _DECISIVE))
        for name, number in numbers.items()
    }


LAYER = Message(
    {
        1: ("name", TEXT),
        2: ("type", TEXT),
        3: ("bottom", Repeated(TEXT)),
        4: ("top", Repeated(TEXT)),
        5: ("loss_weight", Repeated(FLOAT)),
        6: ("param", Repeated(_SPEC)),
        7: ("blobs", Repeated(BYTES)),
        8: ("include", Repeated(_RULE)),
        9: ("exclude", Repeated(_RULE)),
        10: ("phase", _PHASE),
        11: ("propagate_down", Repeated(BOOL)),
        **_list_parameters(CURRENT_NUMBERS),
    }
)
"""A layer; its blobs are views, to be read one at a time."""

OLD_LAYER = Message(
    {
        1: ("layer", EARLIEST_LAYER),
        2: ("bottom", Repeated(TEXT)),
        3: ("top", Repeated(TEXT)),
        4: ("name", TEXT),
        5: ("type", _OLD_KIND),
        6: ("blobs", Repeated(BYTES)),
        7: ("blobs_lr", Repeated(FLOAT)),
        8: ("weight_decay", Repeated(FLOAT)),
        32: ("include", Repeated(_RULE)),
        33: ("exclude", Repeated(_RULE)),
        35: ("loss_weight", Repeated(FLOAT)),
        1001: ("param", Repeated(TEXT)),
        1002: ("blob_share_mode", Repeated(_SHARE)),
        **_list_parameters(EARLIER_NUMBERS),
    }
)
"""A layer as it was before 2014."""

NET = Message(
    {
        1: ("name", TEXT),
        2: ("layers", Repeated(OLD_LAYER)),
        3: ("input", Repeated(TEXT)),
        4: ("input_dim", Repeated(INT)),
        5: ("force_backward", BOOL),
        6: ("state", _STATE),
        7: ("debug_info", BOOL),
        8: ("input_shape", Repeated(SHAPE)),
        100: ("layer", Repeated(LAYER)),
    }
)
"""A network."""


def from_text(tree: Mapping[str, list[Any]], schema: Message, *, source: SourceFile) -> dict[str, Any]:
    """Converts a parsed text to the form that the binary message of the schema is read in.

    Args:
        tree: Name of field to the list of its values.
        schema: The message.
        source: The file, for error messages.

    Returns:
        Name to value; lists only where a field is repeated or, if it is unknown, occurs several times.

    Raises:
        FormatError: For a value that a known field cannot have, such as a text where true or false is expected.

    Example:
        >>> from jaxcnn.zoo.containers.source_file import SourceFile
        >>> from jaxcnn.zoo.formats.caffe.messages import NET, from_text
        >>> tree = {"layer": [{"name": ["a"], "convolution_param": [{"pad": [1], "bias_term": ["f"]}]}]}
        >>> from_text(tree, NET, source=SourceFile("example"))
        {'layer': [{'name': 'a', 'convolution_param': {'pad': [1], 'bias_term': False}}]}
    """
    kinds = dict(schema.fields.values())
    result: dict[str, Any] = {}
    for name, values in tree.items():
        kind = kinds.get(name)
        repeated = isinstance(kind, Repeated) or (kind is None and len(values) > 1)
        single = kind.kind if isinstance(kind, Repeated) else kind
        found = [_convert(value, single, name, source) for value in values]
        if values:
            result[name] = found if repeated else found[-1]
    return result


def _convert(value: Any, kind: Scalar | Enumeration | Message | None, name: str, source: SourceFile) -> Any:
    """Converts a value of a text to the form of the binary format."""
    if kind is None:
        return from_text(value, Message({}), source=source) if isinstance(value, dict) else value
    if isinstance(kind, Message):
        if not isinstance(value, dict):
            raise source.error(f"field {name} must be a message, got {value!r:.60}.")
        return from_text(value, kind, source=source)
    whole = isinstance(value, int) and not isinstance(value, bool)
    if isinstance(kind, Enumeration) and (whole or isinstance(value, str)):
        found = kind.name(value) if isinstance(value, int) else value
        return _OLD_NAMES.get(found, found) if kind is _OLD_KIND and isinstance(found, str) else found
    if kind in (INT, UINT) and whole and (kind == INT or value >= 0):
        return value
    if kind == TEXT and isinstance(value, str):
        return value
    if kind in (FLOAT, DOUBLE):
        if whole or isinstance(value, float):
            return float(value)
        if isinstance(value, str) and value.lower() in _FLOAT_WORDS:
            return float(value)
    if kind == BOOL and (isinstance(value, bool | str) or whole) and value in _BOOLEANS:
        return _BOOLEANS[value]
    expected = "a name or a number" if isinstance(kind, Enumeration) else _EXPECTED[kind]
    raise source.error(f"field {name} must be {expected}, got {value!r:.60}.")
