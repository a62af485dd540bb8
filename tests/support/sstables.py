"""Writes sorted string tables, for tests of their reader."""

from jaxcnn.zoo.containers.crc32c import crc32c
from tests.support import protobufs as pb


def mask(checksum):
    return ((checksum >> 15 | checksum << 17) + 0xA282EAD8) & 0xFFFFFFFF


def entry(key, value, shared=0):
    return pb.varint(shared) + pb.varint(len(key)) + pb.varint(len(value)) + key + value


def write_table(*blocks, kinds=None):
    """Writes a table of blocks, each given as its entries' bytes."""
    content, index = b"", b""
    for number, entries in enumerate(blocks):
        kind = kinds[number] if kinds else 0
        raw = bytes(entries) if kind else entries + bytes(4) + b"\x01\x00\x00\x00"
        index += entry(b"%04d" % number, pb.varint(len(content)) + pb.varint(len(raw)))
        content += raw + bytes([kind]) + mask(crc32c(raw + bytes([kind]))).to_bytes(4, "little")
    raw = index + bytes(4) + b"\x01\x00\x00\x00"
    footer = pb.varint(0) + pb.varint(0) + pb.varint(len(content)) + pb.varint(len(raw))
    content += raw + b"\x00" + mask(crc32c(raw + b"\x00")).to_bytes(4, "little")
    return content + footer.ljust(40, b"\x00") + bytes.fromhex("57fb808b247547db")
