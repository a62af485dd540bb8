"""The reader of protocol buffers: every kind of field, damage, limits."""

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.protobuf import ProtobufReader
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
from jaxcnn.zoo.containers.source_file import SourceFile
from tests.support import protobufs as pb

INNER_FIELDS: dict[int, tuple[str, Kind]] = {1: ("text", TEXT)}
INNER = Message(INNER_FIELDS)
INNER_FIELDS[2] = ("deep", INNER)
SCHEMA = Message(
    {
        1: ("uint", UINT),
        2: ("int", INT),
        3: ("bool", BOOL),
        4: ("float", FLOAT),
        5: ("double", DOUBLE),
        6: ("text", TEXT),
        7: ("bytes", BYTES),
        8: ("kind", Enumeration("A", "B")),
        9: ("inner", INNER),
        10: ("several", Repeated(INNER)),
        11: ("ints", Repeated(INT)),
        12: ("floats", Repeated(FLOAT)),
        13: ("texts", Repeated(TEXT)),
        14: ("bools", Repeated(BOOL)),
        15: ("doubles", Repeated(DOUBLE)),
    }
)


def message(*parts):
    return ProtobufReader(SourceFile("file")).message(memoryview(b"".join(parts)), SCHEMA)


def test_every_kind_of_field():
    result = message(
        pb.number(1, 2**64 - 1),
        pb.number(2, -3),
        pb.number(3, 1),
        pb.single(4, 0.5),
        pb.double(5, 0.1),
        pb.block(6, "naïve"),
        pb.block(7, b"\x00\xff"),
        pb.number(8, 1),
        pb.block(9, pb.block(1, "a")),
        pb.block(10, pb.block(1, "b")),
        pb.block(10),
        pb.block(99, "unknown"),
        pb.block(13, "x"),
        pb.block(13, "y"),
    )
    assert bytes(result.pop("bytes")) == b"\x00\xff"
    expected = {"uint": 2**64 - 1, "int": -3, "bool": True, "float": 0.5, "double": 0.1, "text": "naïve", "kind": "B"}
    assert result == {**expected, "inner": {"text": "a"}, "several": [{"text": "b"}, {}], "texts": ["x", "y"]}


def test_unknown_number_of_an_enumeration_stays_a_number():
    assert message(pb.number(8, 7)) == {"kind": 7}


def test_packed_and_single_numbers_mix():
    numbers = [0, 1, -1, 127, 128, 2**63 - 1, -(2**63), 300]
    result = message(pb.packed(11, numbers), pb.number(11, -7), pb.packed(11, [5]))["ints"]
    assert result.dtype == np.int64 and result.tolist() == [*numbers, -7, 5]
    values = np.array([1.5, -2.5], np.float32)
    assert message(pb.array(12, values), pb.single(12, 3.5))["floats"].tolist() == [1.5, -2.5, 3.5]
    assert message(pb.array(15, values.astype(float)))["doubles"].tolist() == [1.5, -2.5]
    assert message(pb.packed(14, [0, 1, 2]))["bools"].tolist() == [False, True, True]
    assert message(pb.block(11))["ints"].size == 0


@pytest.mark.parametrize("piece", [10, 11, 64])
def test_packed_numbers_piece_by_piece(monkeypatch, piece):
    monkeypatch.setattr("jaxcnn.zoo.containers.protobuf._PIECE", piece)
    numbers = [2**bits - 1 for bits in range(63)] + [-(2**bits) for bits in range(64)]
    assert message(pb.packed(11, numbers))["ints"].tolist() == numbers


def test_packed_numbers_are_not_copied():
    data = memoryview(pb.array(12, np.arange(9, dtype=np.float32)))
    values = ProtobufReader(SourceFile("file")).message(data, SCHEMA)["floats"]
    assert np.shares_memory(values, np.frombuffer(data, np.uint8))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\x08" + b"\xff" * 10, "no end"),
        (b"\x08" + b"\xff" * 9 + b"\x02", "more than 64 bits"),
        (b"\x08", "no end"),
        (b"\x00\x01", "field number 0"),
        (b"\x0b\x0c", "wire type 3"),
        (b"\x0e", "wire type 6"),
        (b"\x32\x05abc", "has 5 bytes"),
        (b"\x25\x00\x00", "has 4 bytes"),
        (b"\x32\x02\xff\xfe", "not UTF-8"),
        (pb.block(1, "text"), "wire type 2"),
        (pb.number(6, 1), "wire type 0"),
        (pb.number(9, 1), "wire type 0"),
        (pb.block(9) + pb.block(9), "occurs twice"),
        (pb.block(12, b"\x00" * 5), "not a whole number"),
        (pb.number(12, 1), "wire type 0"),
        (pb.double(12, 1), "wire type 1"),
        (pb.block(11, b"\x01\x80"), "no end"),
        (pb.block(11, b"\xff" * 11 + b"\x00"), "more than ten bytes"),
        (pb.block(11, b"\xff" * 9 + b"\x02"), "more than 64 bits"),
    ],
)
def test_damaged_messages_are_refused(content, reason):
    with pytest.raises(FormatError, match=f"file: .*{reason}"):
        message(content)


@pytest.mark.errors
def test_depth_and_number_of_values_are_bounded(monkeypatch):
    monkeypatch.setattr("jaxcnn.zoo.containers.protobuf._MAX_VALUES", 1000)
    content = b""
    for _ in range(100):
        content = pb.block(2, content)
    with pytest.raises(FormatError, match="more than 64 deep"):
        message(pb.block(9, content))
    with pytest.raises(FormatError, match="more than 1000 values"):
        message(pb.block(13) * 1001)
