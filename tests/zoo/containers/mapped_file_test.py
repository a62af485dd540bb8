"""Files mapped into memory."""

from pathlib import Path

import numpy as np
import pytest

from jaxcnn.zoo.containers import mapped_file
from tests.support.selection import daily


def test_views_stay_valid_when_their_pages_are_released(tmp_path):
    content = np.random.default_rng(0).bytes(3 << 20)
    (tmp_path / "file").write_bytes(content)
    view = mapped_file.map_file(tmp_path / "file")
    part = view[1 << 20 :]
    assert bytes(part) == content[1 << 20 :]
    mapped_file.release_pages(part)
    assert bytes(view) == content
    mapped_file.release_pages(memoryview(content))  # not of a file: no effect


@pytest.mark.parametrize("file", daily(["weights.npz", "weights.safetensors"], ["weights.safetensors"]))
@pytest.mark.skipif(not Path("/proc/self/clear_refs").exists(), reason="the kernel tells no peak of memory here")
def test_reading_takes_the_memory_of_the_tensors_once(tmp_path, file):
    """In a process of its own, as other tests leave memory behind."""
    from benchmarks.speed import zoo

    arrays, small = zoo.kernels(40), zoo.kernels(0.1)
    write = zoo.FILES[file][0]
    write(tmp_path / file, arrays)
    write(tmp_path / f"small_{file}", small)
    peak = float(zoo.peak_of(file, "jaxcnn", tmp_path / f"small_{file}", tmp_path / file))
    assert peak < 1.3 * sum(array.nbytes for array in arrays) / 1e6
