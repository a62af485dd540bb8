"""Small files that make careless readers take much memory or time are refused before they do."""

import tracemalloc
import zipfile

import numpy as np
import pytest

from jaxcnn import zoo
from tests.support import hostile_files
from tests.support.selection import times


@pytest.mark.errors
@pytest.mark.parametrize("kind", list(hostile_files.FILES))
def test_fuzz_of_repeated_and_tiny_parts(tmp_path, monkeypatch, kind):
    """Memory stays near what the tensors may take; time is linear, as keys that collide are refused."""
    path, limit = tmp_path / "file", 1 << 20
    for bound in ("_MIN_OBJECT_BYTES", "_MAX_OBJECT_BYTES"):  # smaller ones, so that smaller files reach them
        monkeypatch.setattr(f"jaxcnn.zoo.containers.source_file.{bound}", limit)
    reason = hostile_files.write(path, kind, times(8000))
    tracemalloc.start()
    try:
        with pytest.raises(zoo.FormatError, match=reason):
            zoo.read(path, max_bytes=limit)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak < 4 * limit + 48 * path.stat().st_size


@pytest.mark.parametrize("framework", ["numpy", "pytorch"])
def test_compressed_archives_take_the_memory_of_their_tensors(tmp_path, framework):
    """The decompressed bytes are not in memory beside the arrays that are copied from them."""
    array, path = np.zeros((1 << 10, 1 << 13), np.float32), tmp_path / "a"
    if framework == "numpy":
        np.savez_compressed(tmp_path / "a.npz", a=array)
        path = tmp_path / "a.npz"
    else:
        tensor = (
            b"ctorch._utils\n_rebuild_tensor_v2\n((X\x07\x00\x00\x00storagectorch\nFloatStorage\nX\x01\x00\x00\x000"
        )
        tensor += b"X\x03\x00\x00\x00cpuJ\x00\x00\x80\x00tQK\x00(M\x00\x04M\x00 t(M\x00 K\x01t\x89}tR"
        pickle = b"\x80\x02}X\x01\x00\x00\x00a" + tensor + b"s."
        content = hostile_files.zip_of(("a/data.pkl", pickle), ("a/data/0", array.tobytes()), pack=zipfile.ZIP_DEFLATED)
        path.write_bytes(content)
    tracemalloc.start()
    try:
        found = zoo.read(path, max_bytes=array.nbytes + (1 << 20)).tensors["a"]
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert found.shape == array.shape and peak < 1.3 * array.nbytes


def test_keys_of_real_checkpoints_are_taken(tmp_path):
    """Addresses in memory, by which older optimizers name parameters, and pairs of numbers."""
    body = b"}(\x8a\x06\x00\x00\x00\x00\x00\x7fNG?\xe0\x00\x00\x00\x00\x00\x00NK\x01K\x02\x86Nu"
    path = tmp_path / "a"
    path.write_bytes(hostile_files.pickle_of(body))
    with pytest.raises(zoo.FormatError, match="holds no tensors"):
        zoo.read(path)
