"""The wire format of protocol buffers, the checksum and the tables beneath the readers of weight files."""

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.crc32c import crc32c, unmasked
from jaxcnn.zoo.containers.protobuf import Wire
from jaxcnn.zoo.containers.sstable import Table
from tests.support import protobufs as pb

INNER = {1: ("text", "text"), 2: ("deep", {})}
INNER[2] = ("deep", INNER)
SCHEMA = {
    1: ("uint", "uint"),
    2: ("int", "int"),
    3: ("bool", "bool"),
    4: ("float", "float"),
    5: ("double", "double"),
    6: ("text", "text"),
    7: ("bytes", "bytes"),
    8: ("kind", "enum:A,B"),
    9: ("inner", INNER),
    10: ("several", [INNER]),
    11: ("ints", "int*"),
    12: ("floats", "float*"),
    13: ("texts", "text*"),
    14: ("bools", "bool*"),
    15: ("doubles", "double*"),
}


def message(*parts):
    return Wire("file").message(memoryview(b"".join(parts)), SCHEMA)


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
    values = Wire("file").message(data, SCHEMA)["floats"]
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
        (pb.block(9) + pb.block(9), "there twice"),
        (pb.block(12, b"\x00" * 5), "no whole number"),
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
    monkeypatch.setattr("jaxcnn.zoo.containers.protobuf._MOST_VALUES", 1000)
    content = b""
    for _ in range(100):
        content = pb.block(2, content)
    with pytest.raises(FormatError, match="more than 64 deep"):
        message(pb.block(9, content))
    with pytest.raises(FormatError, match="more than 1000 values"):
        message(pb.block(13) * 1001)


def bitwise(content):
    register = 0xFFFFFFFF
    for byte in content:
        register ^= byte
        for _ in range(8):
            register = register >> 1 ^ (0x82F63B78 if register & 1 else 0)
    return register ^ 0xFFFFFFFF


def test_checksum_equals_the_bitwise_one_at_every_length():
    content = np.random.default_rng(0).integers(0, 256, 5000).astype(np.uint8).tobytes()
    for length in (*range(70), 255, 256, 257, 1023, 1025, 4999):
        assert crc32c(content[:length]) == bitwise(content[:length]), length


def test_checksum_of_several_pieces(monkeypatch):
    content = np.random.default_rng(1).integers(0, 256, 3001).astype(np.uint8)
    monkeypatch.setattr("jaxcnn.zoo.containers.crc32c._PIECE", 1000)
    assert crc32c(content) == bitwise(content.tobytes())


def masked(checksum):
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def test_mask_of_the_checksum_is_undone():
    for checksum in (0, 1, 0xFFFFFFFF, 0xE3069283):
        assert unmasked(masked(checksum)) == checksum


def entry(key, value, shared=0):
    return pb.varint(shared) + pb.varint(len(key)) + pb.varint(len(value)) + key + value


def table(*blocks, kinds=None):
    """Writes a table of blocks, each given as its entries' bytes."""
    content, index = b"", b""
    for number, entries in enumerate(blocks):
        kind = kinds[number] if kinds else 0
        raw = bytes(entries) if kind else entries + bytes(4) + b"\x01\x00\x00\x00"
        index += entry(b"%04d" % number, pb.varint(len(content)) + pb.varint(len(raw)))
        content += raw + bytes([kind]) + masked(crc32c(raw + bytes([kind]))).to_bytes(4, "little")
    raw = index + bytes(4) + b"\x01\x00\x00\x00"
    footer = pb.varint(0) + pb.varint(0) + pb.varint(len(content)) + pb.varint(len(raw))
    content += raw + b"\x00" + masked(crc32c(raw + b"\x00")).to_bytes(4, "little")
    return content + footer.ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db")


def items(content, max_bytes=1 << 20):
    return [(key, bytes(value)) for key, value in Table("file", memoryview(content), max_bytes).items()]


def test_keys_that_share_a_beginning():
    blocks = entry(b"", b"h") + entry(b"abc", b"1") + entry(b"d", b"2", shared=2), entry(b"b", b"")
    assert items(table(*blocks)) == [(b"", b"h"), (b"abc", b"1"), (b"abd", b"2"), (b"b", b"")]


def test_compressed_blocks():
    cramjam = pytest.importorskip("cramjam", reason="decompresses Snappy")
    raw = entry(b"k", b"v" * 3000) + bytes(4) + b"\x01\x00\x00\x00"
    packed = bytes(cramjam.snappy.compress_raw(raw))
    assert items(table(packed, kinds=[1])) == [(b"k", b"v" * 3000)]
    with pytest.raises(FormatError, match="more than is left"):
        items(table(packed, kinds=[1]), max_bytes=2000)
    for damaged in (packed[:-1], pb.varint(10**9) + packed[2:], pb.varint(len(raw) - 1) + packed[2:], b""):
        with pytest.raises(FormatError):
            items(table(damaged, kinds=[1]))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (table(entry(b"b", b"") + entry(b"a", b"")), "out of order"),
        (table(entry(b"b", b"") + entry(b"b", b"")), "out of order"),
        (table(entry(b"b", b"", shared=1)), "goes beyond it"),
        (table(entry(b"b", b"")[:-1]), "goes beyond it|no end"),
        (table(b"", kinds=[0])[:-1], "footer"),
        (table(b"abc", kinds=[7]), "unknown method 7"),
        (b"short", "footer"),
    ],
)
def test_damaged_tables_are_refused(content, reason):
    with pytest.raises(FormatError, match=f"file: .*({reason})"):
        items(content)


@pytest.mark.errors
def test_a_changed_byte_of_a_block_is_noticed():
    content = bytearray(table(entry(b"key", b"value")))
    content[5] ^= 1
    with pytest.raises(FormatError, match="another checksum"):
        items(bytes(content))


@pytest.mark.errors
def test_keys_that_multiply_without_end_are_refused(monkeypatch):
    monkeypatch.setattr("jaxcnn.zoo.containers.sstable._MOST_KEYS", 1000)
    content = entry(b"a" * 100, b"") + b"".join(entry(b"b", b"", shared=100 + i) for i in range(20))
    with pytest.raises(FormatError, match="keys of the table take more than"):
        items(table(content))
