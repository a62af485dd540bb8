"""The checksum CRC-32C and its mask."""

import numpy as np

from jaxcnn.zoo.containers.crc32c import crc32c, unmask
from tests.support.sstables import mask


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


def test_mask_of_the_checksum_is_undone():
    for checksum in (0, 1, 0xFFFFFFFF, 0xE3069283):
        assert unmask(mask(checksum)) == checksum
