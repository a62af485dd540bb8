"""How the messages of protocol buffers are described to ``ProtobufReader``: field numbers, names and kinds.

>>> from jaxcnn.zoo.containers.protobuf_schema import INT, TEXT, Enumeration, Message, Repeated
>>> shape = Message({1: ("dim", Repeated(INT))})
>>> tensor = Message({1: ("name", TEXT), 2: ("shape", shape), 3: ("type", Enumeration("FLOAT", "INT"))})

Fields that a message does not list are checked and skipped.
"""

import dataclasses
import enum
from collections.abc import Mapping

__all__ = [
    "BOOL",
    "BYTES",
    "DOUBLE",
    "FIXED32",
    "FLOAT",
    "INT",
    "TEXT",
    "UINT",
    "Enumeration",
    "Kind",
    "Message",
    "Repeated",
    "Scalar",
    "WireType",
    "wire_types",
]


class WireType(enum.IntEnum):
    """How a field is stored, as its key says."""

    VARINT = 0
    FIXED64 = 1
    LENGTH_DELIMITED = 2
    FIXED32 = 5


class Scalar(enum.Enum):
    """Kinds of single values."""

    UINT = "an unsigned varint"
    INT = "a varint in two's complement of 64 bits"
    BOOL = "a varint, true unless 0"
    FLOAT = "4 bytes"
    DOUBLE = "8 bytes"
    FIXED32 = "4 bytes, an unsigned integer"
    TEXT = "UTF-8"
    BYTES = "a view of the bytes, also for messages that are read later"


UINT, INT, BOOL = Scalar.UINT, Scalar.INT, Scalar.BOOL
FLOAT, DOUBLE, FIXED32 = Scalar.FLOAT, Scalar.DOUBLE, Scalar.FIXED32
TEXT, BYTES = Scalar.TEXT, Scalar.BYTES


@dataclasses.dataclass(frozen=True)
class Enumeration:
    """A varint that represents a name; numbers without a name stay numbers."""

    names: tuple[str, ...]

    def __init__(self, *names: str):
        """Lists the names from number 0 on."""
        object.__setattr__(self, "names", names)

    def name(self, number: int) -> str | int:
        """Returns the name of a number, or the number itself."""
        return self.names[number] if 0 <= number < len(self.names) else number


@dataclasses.dataclass(frozen=True)
class Message:
    """A message: field number to the field's name and kind.

    An optional message is left out where its content is not of this kind: forks reuse the numbers of fields.
    """

    fields: Mapping[int, tuple[str, "Kind"]]
    optional: bool = False


@dataclasses.dataclass(frozen=True)
class Repeated:
    """A field that may occur many times.

    Numbers, packed or not, become a NumPy array (a view of the file if they are packed in one piece); everything else
    becomes a list.
    """

    kind: Scalar | Enumeration | Message


Kind = Scalar | Enumeration | Message | Repeated


_VARINT, _BLOCK = frozenset({WireType.VARINT}), frozenset({WireType.LENGTH_DELIMITED})
_SCALAR_WIRE_TYPES: dict[Scalar, frozenset[WireType]] = {
    **dict.fromkeys((UINT, INT, BOOL), _VARINT),
    **dict.fromkeys((FLOAT, FIXED32), frozenset({WireType.FIXED32})),
    DOUBLE: frozenset({WireType.FIXED64}),
    **dict.fromkeys((TEXT, BYTES), _BLOCK),
}


def wire_types(kind: Kind) -> frozenset[WireType]:
    """Returns the ways in which a field of a kind can be stored.

    Args:
        kind: The kind.

    Returns:
        One wire type, or two for repeated numbers, which may be packed.

    Example:
        >>> from jaxcnn.zoo.containers.protobuf_schema import FLOAT, Repeated, wire_types
        >>> sorted(one.name for one in wire_types(Repeated(FLOAT)))
        ['FIXED32', 'LENGTH_DELIMITED']
    """
    if isinstance(kind, Repeated):
        return wire_types(kind.kind) | _BLOCK
    if isinstance(kind, Scalar):
        return _SCALAR_WIRE_TYPES[kind]
    return _BLOCK if isinstance(kind, Message) else _VARINT
