"""``zoo.read``: the choice of the reader, and what it refuses."""

import pytest

from jaxcnn import zoo
from tests.support import paths
from tests.support.untyped import untyped

FIXTURES = paths.FIXTURES / "torch"


def test_error_for_unknown_content(tmp_path):
    (tmp_path / "a.pth").write_bytes(b"GIF89a and so on")
    message = r"a\.pth: must be of a known format \(.*PyTorch, .*safetensors.*\), got a file that begins with b'GIF89a"
    with pytest.raises(zoo.FormatError, match=message):
        zoo.read(tmp_path / "a.pth")
    (tmp_path / "a.pth").write_bytes((FIXTURES / "zip.pth").read_bytes()[:-9])
    with pytest.raises(zoo.FormatError, match="a zip archive that is damaged or holds none of these"):
        zoo.read(tmp_path / "a.pth")
    with pytest.raises(zoo.FormatError, match="a folder that is none of these"):
        zoo.read(tmp_path)
    with pytest.raises(FileNotFoundError, match="read: path must be an existing file, got .*nothing"):
        zoo.read(tmp_path / "nothing")
    for max_bytes in (0, -1, 1.5, True, None):
        with pytest.raises(ValueError, match="read: max_bytes must be a positive integer"):
            zoo.read(tmp_path / "a.pth", max_bytes=untyped(max_bytes))


def test_names_of_files_say_nothing(tmp_path):
    (tmp_path / "a.h5").write_bytes((FIXTURES / "legacy.pth").read_bytes())
    assert zoo.read(tmp_path / "a.h5").metadata["container"] == "legacy"
