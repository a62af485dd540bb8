"""``zoo.read`` against the libraries that wrote the files: time, and the peak of resident memory.

Command: ``python -m benchmarks.speed.zoo``, with ``--quick`` for files of 2 MB in place of 100. PyTorch and Keras are
optional. Every contender ends with NumPy arrays in memory. The files lie in the cache of the operating system, so no
disk is measured. ``zoo.read`` also transposes PyTorch's kernels to (kh, kw, in, out) and verifies the SHA-256 of
safetensors that ``zoo.save`` wrote; Keras builds the model first. The peak is what a fresh process takes beyond what
it held after reading a small file of the same kind; mapped pages of the file count.
"""

import functools
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tyro

from benchmarks import _harness
from jaxcnn import zoo as zoo_

KERNEL = (3, 3, 256, 256)

Reader = Callable[[Path], list[np.ndarray]]


def kernels(megabytes: float) -> list[np.ndarray]:
    """Returns random kernels of so many MB together."""
    count = max(2, round(megabytes * 1e6 / (4 * np.prod(KERNEL))))
    rng = np.random.default_rng(0)
    shape = KERNEL if megabytes > 10 else (3, 3, 64, 64)
    return [rng.standard_normal(shape, np.float32) for _ in range(count)]


def library(name: str) -> Any:
    """Imports a library; Keras runs on JAX unless another backend was chosen."""
    os.environ.setdefault("KERAS_BACKEND", "jax")
    found = _harness.optional(name)
    if found is None:
        raise _harness.Skipped("not installed")
    return found


def write_pytorch(path: Path, arrays: list[np.ndarray], *, legacy: bool) -> None:
    torch = library("torch")
    state = {
        f"conv{place}.weight": torch.from_numpy(array.transpose(3, 2, 0, 1).copy())
        for place, array in enumerate(arrays)
    }
    torch.save(state, path, _use_new_zipfile_serialization=not legacy)


def write_keras(path: Path, arrays: list[np.ndarray]) -> None:
    keras = library("keras")
    inputs = keras.layers.Input((3, 3, arrays[0].shape[2]))
    convolutions = [keras.layers.Conv2D(array.shape[3], 3, use_bias=False, padding="same") for array in arrays]
    model = keras.Sequential([inputs, *convolutions])
    model.set_weights(arrays)
    model.save(path)


def write_numpy(path: Path, arrays: list[np.ndarray]) -> None:
    np.savez(path, *arrays)


def write_safetensors(path: Path, arrays: list[np.ndarray]) -> None:
    library("safetensors.numpy").save_file({f"w{place:03}": array for place, array in enumerate(arrays)}, path)


def read_zoo(path: Path) -> list[np.ndarray]:
    return list(zoo_.read(path).tensors.values())


def read_pytorch(path: Path) -> list[np.ndarray]:
    return [tensor.numpy() for tensor in library("torch").load(path, weights_only=True).values()]


def read_keras(path: Path) -> list[np.ndarray]:
    return library("keras").saving.load_model(path, compile=False).get_weights()


def read_numpy(path: Path) -> list[np.ndarray]:
    with np.load(path) as file:
        return [file[name] for name in file]


def read_safetensors(path: Path) -> list[np.ndarray]:
    tensors = library("safetensors.numpy").load_file(path)
    return [tensors[name] for name in sorted(tensors)]


# Name of the file to what writes it, the library it is of and that library's reader.
FILES: dict[str, tuple[Callable[[Path, list[np.ndarray]], None], str, Reader]] = {
    "weights.pth": (functools.partial(write_pytorch, legacy=False), "torch", read_pytorch),
    "legacy.pth": (functools.partial(write_pytorch, legacy=True), "torch", read_pytorch),
    "model.h5": (write_keras, "keras", read_keras),
    "model.keras": (write_keras, "keras", read_keras),
    "weights.npz": (write_numpy, "numpy", read_numpy),
    "weights.safetensors": (write_safetensors, "safetensors", read_safetensors),
}


def readers(file: str) -> dict[str, Reader]:
    """Returns the readers of a file by name, that of ``zoo`` first."""
    _, other, reader = FILES[file]
    return {"jaxcnn": read_zoo, other: reader}


def to_hwio(file: str, contender: str, arrays: list[np.ndarray]) -> list[np.ndarray]:
    """Transposes arrays to (kh, kw, in, out), the layout of ``zoo``."""
    return [array.transpose(2, 3, 1, 0) for array in arrays] if contender == "torch" else arrays


def build(reader: Reader, path: Path) -> _harness.Run:
    """Returns the function to time."""
    if not path.exists():
        raise _harness.Skipped("the library that writes the file is not installed")
    return functools.partial(reader, path)


def peak(file: str, contender: str, small: Path, large: Path) -> float:
    """Measures by how many MB reading a file raises the resident memory of this process."""
    reader = readers(file)[contender]
    reader(small)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted from now
    before = resident("VmRSS")
    arrays = reader(large)
    after = resident("VmHWM")
    del arrays
    return (after - before) / 1e6


def resident(what: str) -> float:
    """Reads an entry of the kernel's statistics of this process, in bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return 1024 * float(next(line.split()[1] for line in lines if line.startswith(what)))


def peak_of(file: str, contender: str, small: Path, large: Path) -> str:
    """Measures the same in a fresh process, as text; empty if the system has no such statistics."""
    if not Path("/proc/self/clear_refs").exists():
        return ""
    code = f"from benchmarks.speed import zoo; from pathlib import Path; print(zoo.peak({file!r}, {contender!r}, "
    code += f"Path({str(small)!r}), Path({str(large)!r})))"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    return f"{float(done.stdout.split()[-1]):.0f}"


def main(options: _harness.Options) -> Mapping[str, Any]:
    """Writes the files, reads them in turns, and writes times and memory."""
    _harness.limit_threads(options.threads)
    with tempfile.TemporaryDirectory() as name:
        folder, megabytes = Path(name), 2 if options.quick else 100
        arrays, cases, rows = kernels(megabytes), [], [["file", "MB", "contender", "peak, MB"]]
        for file, (write, _, _) in FILES.items():
            small, large = folder / f"small_{file}", folder / file
            try:
                write(small, kernels(0.1))
                write(large, arrays)
            except _harness.Skipped:
                continue
            contenders = [
                _harness.Contender(who, functools.partial(build, reader, large), functools.partial(to_hwio, file, who))
                for who, reader in readers(file).items()
            ]
            size = large.stat().st_size / 1e6
            cases.append(_harness.Case(file, {"megabytes": round(size)}, contenders, 0.0))
            rows += [[file, f"{size:.0f}", who, peak_of(file, who, small, large)] for who in readers(file)]
        return _harness.run(
            "zoo",
            cases,
            options,
            tables=lambda _: {"peak of resident memory": rows},
            libraries=("keras", "h5py", "safetensors"),
        )


if __name__ == "__main__":
    main(tyro.cli(_harness.Options, description=__doc__))
