"""The checksum CRC-32C (Castagnoli), in NumPy: about a second for 100 MB."""

import functools

import numpy as np

__all__ = ["crc32c", "unmask"]

_POLYNOMIAL = 0x82F63B78
_PIECE = 1 << 22
_MASK_DELTA = 0xA282EAD8


def crc32c(data: bytes | bytearray | memoryview | np.ndarray) -> int:
    """Computes the checksum of bytes.

    A checksum is linear over the bits: pieces of equal length are processed in parallel, and their
    checksums are combined.

    Args:
        data: The bytes, contiguous.

    Returns:
        The checksum, 32 bits.

    Example:
        >>> from jaxcnn.zoo.containers.crc32c import crc32c
        >>> hex(crc32c(b"123456789"))
        '0xe3069283'

    References:
        IETF RFC 3720, appendix B.4.
    """
    values = np.frombuffer(data, np.uint8) if not isinstance(data, np.ndarray) else data.reshape(-1).view(np.uint8)
    state = 0xFFFFFFFF
    for begin in range(0, values.size, _PIECE):
        piece = values[begin : begin + _PIECE]
        state = _shift(state, piece.size) ^ _remainder(piece)
    return state ^ 0xFFFFFFFF


def unmask(stored: int) -> int:
    """Undoes the rotation and offset under which LevelDB and TensorFlow store a checksum."""
    rotated = (stored - _MASK_DELTA) & 0xFFFFFFFF
    return ((rotated >> 17) | (rotated << 15)) & 0xFFFFFFFF


@functools.cache
def _tables() -> tuple[np.ndarray, np.ndarray]:
    """Tabulates what the low and the high 16 bits of a 4-byte word leave in the register."""
    table = np.arange(1 << 16, dtype=np.uint32)
    result = []
    for _ in range(2):
        for _ in range(16):
            table = (table >> np.uint32(1)) ^ np.where(table & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
        result.append(table)
    return result[1], result[0]


@functools.cache
def _operator(power: int) -> np.ndarray:
    """Returns the matrix, one word per bit, that moves a register over ``2**power`` zero bytes."""
    if power == 0:
        matrix = np.uint32(1) << np.arange(32, dtype=np.uint32)
        for _ in range(8):
            matrix = (matrix >> np.uint32(1)) ^ np.where(matrix & np.uint32(1), np.uint32(_POLYNOMIAL), np.uint32(0))
        return matrix
    half = _operator(power - 1)
    return _apply(half, half)


def _apply(matrix: np.ndarray, words: np.ndarray) -> np.ndarray:
    bits = (words[:, None] >> np.arange(32, dtype=np.uint32)) & np.uint32(1)
    return np.bitwise_xor.reduce(np.where(bits != 0, matrix, np.uint32(0)), axis=1)


def _shift(state: int, count: int) -> int:
    """Moves a register over ``count`` zero bytes."""
    words = np.array([state], np.uint32)
    for power in range(count.bit_length()):
        if count >> power & 1:
            words = _apply(_operator(power), words)
    return int(words[0])


def _remainder(data: np.ndarray) -> int:
    """Computes the register after the bytes, starting from 0."""
    power = max(2, min(10, (data.size.bit_length() - 1) // 2))
    length = 1 << power
    lanes = -(-data.size // length)
    padded = np.zeros(lanes * length, np.uint8)  # zeros in front of everything leave the register at 0
    padded[padded.size - data.size :] = data
    columns = np.ascontiguousarray(padded.view("<u4").reshape(lanes, length // 4).T)
    low, high = _tables()
    register = np.zeros(lanes, np.uint32)
    for column in columns:
        register ^= column
        register = low[register & np.uint32(0xFFFF)] ^ high[register >> np.uint32(16)]
    while register.size > 1:
        if register.size % 2:
            register = np.concatenate([np.zeros(1, np.uint32), register])
        register = _apply(_operator(power), register[::2]) ^ register[1::2]
        power += 1
    return int(register[0])
