"""The path and the budget that all parsers share."""

import struct

import numpy as np
import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.source_file import SourceFile


def test_a_budget_is_spent_by_all_and_separate_ones_are_not():
    source = SourceFile("file", 100)
    separate = source.with_budget(10)
    assert source.spend_tensor((2, 3), np.float32, "a") == 24 and source.bytes_left == 76
    separate.spend(10, "a text")
    assert source.bytes_left == 76 and separate.bytes_left == 0 and separate.path == "file"


@pytest.mark.parametrize(
    ("shape", "stored", "reason"),
    [
        ((5, 6), None, "^file: a needs 120 bytes, more than is left of max_bytes=100[.]$"),
        ((-1,), None, "impossible shape"),
        ((1,) * 33, None, "impossible shape"),
        ((1 << 62, 1 << 62), None, "more than is left"),
        ((2, 3), 20, "declares shape .2, 3., 24 bytes, but holds 20 bytes"),
    ],
)
def test_error_for_tensors_beyond_the_budget(shape, stored, reason):
    source = SourceFile("file", 100)
    with pytest.raises(FormatError, match=reason):
        source.spend_tensor(shape, np.float32, "a", stored=stored)
    assert source.bytes_left == 100


def test_error_of_a_parser_names_the_file():
    source = SourceFile("file")
    message = "^file: The file is truncated or corrupt .error: unpack requires"
    with pytest.raises(FormatError, match=message), source.translate_errors():
        struct.unpack("<I", b"")
    with pytest.raises(FormatError, match="^file: a reason$"), source.translate_errors():
        raise source.error("a reason")


def test_error_of_a_file_of_countless_tensors():
    """Empty tensors take no bytes of the budget, but time and memory for their names."""
    source = SourceFile("many")
    with pytest.raises(FormatError, match="declares more than 65,536 tensors"):
        for i in range(1 << 20):
            source.spend_tensor((0,), "float32", str(i))
    assert source.bytes_left == source.max_bytes
