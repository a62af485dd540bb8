"""Sorted string tables: shared keys, compressed blocks, damage, limits."""

import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.source_file import SourceFile
from jaxcnn.zoo.containers.sstable import SSTable
from tests.support import protobufs as pb
from tests.support.sstables import entry, write_table


def items(content, max_block_bytes=1 << 20):
    return [
        (key, bytes(value)) for key, value in SSTable(SourceFile("file"), memoryview(content), max_block_bytes).items()
    ]


def test_keys_that_share_a_beginning():
    blocks = entry(b"", b"h") + entry(b"abc", b"1") + entry(b"d", b"2", shared=2), entry(b"b", b"")
    assert items(write_table(*blocks)) == [(b"", b"h"), (b"abc", b"1"), (b"abd", b"2"), (b"b", b"")]


def test_compressed_blocks():
    cramjam = pytest.importorskip("cramjam", reason="decompresses Snappy")
    raw = entry(b"k", b"v" * 3000) + bytes(4) + b"\x01\x00\x00\x00"
    packed = bytes(cramjam.snappy.compress_raw(raw))
    assert items(write_table(packed, kinds=[1])) == [(b"k", b"v" * 3000)]
    with pytest.raises(FormatError, match="more than is left"):
        items(write_table(packed, kinds=[1]), max_block_bytes=2000)
    for damaged in (packed[:-1], pb.varint(10**9) + packed[2:], pb.varint(len(raw) - 1) + packed[2:], b""):
        with pytest.raises(FormatError):
            items(write_table(damaged, kinds=[1]))


@pytest.mark.errors
@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (write_table(entry(b"b", b"") + entry(b"a", b"")), "out of order"),
        (write_table(entry(b"b", b"") + entry(b"b", b"")), "out of order"),
        (write_table(entry(b"b", b"", shared=1)), "extends beyond it"),
        (write_table(entry(b"b", b"")[:-1]), "extends beyond it|no end"),
        (write_table(b"", kinds=[0])[:-1], "footer"),
        (write_table(b"abc", kinds=[7]), "unknown method 7"),
        (b"short", "footer"),
    ],
)
def test_damaged_tables_are_refused(content, reason):
    with pytest.raises(FormatError, match=f"file: .*({reason})"):
        items(content)


@pytest.mark.errors
def test_a_changed_byte_of_a_block_is_noticed():
    content = bytearray(write_table(entry(b"key", b"value")))
    content[5] ^= 1
    with pytest.raises(FormatError, match="does not match its stored checksum"):
        items(bytes(content))


@pytest.mark.errors
def test_keys_that_multiply_without_end_are_refused(monkeypatch):
    monkeypatch.setattr("jaxcnn.zoo.containers.sstable._MAX_KEY_BYTES", 1000)
    content = entry(b"a" * 100, b"") + b"".join(entry(b"b", b"", shared=100 + i) for i in range(20))
    with pytest.raises(FormatError, match="keys of the table take more than"):
        items(write_table(content))
