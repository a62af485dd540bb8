"""Readers of idx files, npz archives and image folders: good files, real files, damaged files."""

import gzip
import io
import os
import pickle
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcnn import data
from tests.support.real_data import DATA, needs_data
from tests.support.untyped import untyped


def idx_bytes(array: np.ndarray) -> bytes:
    codes = {"u1": 8, "i1": 9, "i2": 11, "i4": 12, "f4": 13, "f8": 14}
    header = bytes([0, 0, codes[array.dtype.str[1:]], array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    return header + array.astype(array.dtype.newbyteorder(">")).tobytes()


# idx


@pytest.mark.parametrize("dtype", ["u1", "i1", "i2", "i4", "f4", "f8"])
@pytest.mark.parametrize("compress", [False, True])
def test_idx_round_trip(tmp_path, dtype, compress):
    array = np.arange(-3 if dtype != "u1" else 0, 21 if dtype != "u1" else 24).reshape(2, 3, 4).astype(dtype)
    path = tmp_path / "array"
    path.write_bytes(gzip.compress(idx_bytes(array)) if compress else idx_bytes(array))
    result = data.read_idx(path)
    assert result.dtype == np.dtype(dtype) and result.dtype.isnative and result.flags.writeable
    np.testing.assert_array_equal(result, array)


def test_idx_of_no_examples(tmp_path):
    (tmp_path / "empty").write_bytes(idx_bytes(np.zeros((0, 2, 2), np.uint8)))
    assert data.read_idx(tmp_path / "empty").shape == (0, 2, 2)


@pytest.mark.parametrize("compress", [False, True])
def test_truncated_idx_is_refused_at_every_length(tmp_path, compress):
    content = idx_bytes(np.arange(20, dtype=np.uint8).reshape(4, 5))
    content = gzip.compress(content) if compress else content
    path = tmp_path / "short"
    for length in range(len(content)):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match=r"read_idx: path must be an intact idx file, got .*short"):
            data.read_idx(path)


def test_flipped_bits_in_compressed_idx_are_refused_or_harmless(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (5, 8)).astype(np.uint8)
    content = gzip.compress(idx_bytes(array), mtime=0)
    path = tmp_path / "flipped"
    for position in range(10, len(content)):
        path.write_bytes(content[:position] + bytes([content[position] ^ 0x41]) + content[position + 1 :])
        with pytest.raises(ValueError, match="read_idx: path must be an intact idx file"):
            data.read_idx(path)


@pytest.mark.parametrize(
    "header",
    [
        bytes([0, 0, 8, 3]) + struct.pack(">3I", 2**32 - 1, 2**32 - 1, 2**32 - 1),
        bytes([0, 0, 14, 2]) + struct.pack(">2I", 0, 2**32 - 1),
        bytes([0, 0, 8, 255]) + b"\0\0\0\1" * 255,
        bytes([0, 0, 8, 0]),
        bytes([0, 0, 7, 1]) + struct.pack(">I", 1),
        bytes([1, 0, 8, 1]) + struct.pack(">I", 1),
        b"\x89PNG",
        b"",
    ],
)
@pytest.mark.parametrize("compress", [False, True])
def test_hostile_idx_header_is_refused(tmp_path, header, compress):
    content = header + b"\7"
    (tmp_path / "hostile").write_bytes(gzip.compress(content) if compress else content)
    with pytest.raises(ValueError, match="intact idx file"):
        data.read_idx(tmp_path / "hostile")


def test_idx_that_goes_on_is_refused(tmp_path):
    (tmp_path / "long").write_bytes(idx_bytes(np.zeros(3, np.uint8)) + b"\0")
    with pytest.raises(ValueError, match="but more follow"):
        data.read_idx(tmp_path / "long")


def test_idx_larger_than_allowed_is_refused(tmp_path):
    (tmp_path / "big").write_bytes(idx_bytes(np.zeros(30, np.uint8)))
    assert data.read_idx(tmp_path / "big", max_bytes=30).shape == (30,)
    with pytest.raises(ValueError, match="max_bytes=29"):
        data.read_idx(tmp_path / "big", max_bytes=29)


def test_missing_files_say_what_to_do(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"read_idx: path must be an existing file, got .*nothing.idx"):
        data.read_idx(tmp_path / "nothing.idx")
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz, got .* Put the four files .* nothing is"):
        data.mnist(tmp_path)


def test_mnist_files_must_belong_together(tmp_path):
    (tmp_path / "t10k-images-idx3-ubyte").write_bytes(idx_bytes(np.zeros((3, 2, 2), np.uint8)))
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(2, np.uint8)))
    with pytest.raises(ValueError, match="mnist: files must be as many images as labels"):
        data.mnist(tmp_path, split="test")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(idx_bytes(np.zeros(3, np.float32)))
    with pytest.raises(ValueError, match="mnist: files must be uint8"):
        data.mnist(tmp_path, split="test")


@pytest.mark.errors
def test_wrong_split_of_mnist(tmp_path):
    with pytest.raises(ValueError, match="mnist: split must be one of"):
        data.mnist(tmp_path, split=untyped("valid"))


@needs_data
def test_real_mnist():
    images, labels = data.mnist(DATA / "mnist", split="test")
    assert images.shape == (10000, 28, 28, 1) and images.dtype == np.uint8 and images.max() == 255
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(np.bincount(labels), [980, 1135, 1032, 1010, 982, 892, 958, 1028, 974, 1009])
    np.testing.assert_array_equal(labels[:5], [7, 2, 1, 0, 4])
    assert data.mnist(DATA / "mnist")[0].shape == (60000, 28, 28, 1)


# npz


def test_npz_forms(tmp_path):
    path = tmp_path / "a.npz"
    pixels = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    np.savez_compressed(path, x_train=pixels, y_train=np.array([1.0, 2.0]), bad=np.array([{}], object))
    images, labels = data.read_npz(path)
    assert images.shape == (2, 3, 4, 1) and images.dtype == np.uint8
    assert labels.dtype == np.int32 and labels.tolist() == [1, 2]
    np.testing.assert_array_equal(data.read_npz(path, shape=(2, 3, 2))[0], pixels.reshape(2, 2, 3, 2))


@needs_data
def test_real_cluttered_mnist():
    path = DATA / "cluttered_mnist" / "mnist_sequence1_sample_5distortions5x5.npz"
    images, labels = data.read_npz(path, images="X_test", labels="y_test", shape=(40, 40, 1))
    assert images.shape == (1000, 40, 40, 1) and images.dtype == np.float32
    assert images.min() == 0 and images.max() == 1
    assert labels.shape == (1000,) and set(labels.tolist()) == set(range(10))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": np.zeros((2, 2, 2)), "y_train": np.zeros(2)}, r"images must be one of its arrays \('x', 'y_train'\)"),
        ({"x_train": np.zeros((2, 4)), "y_train": np.zeros(2)}, "images must be of shape .* or used with shape="),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.zeros(3)}, "labels must be 2 whole numbers"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.array([0.5, 1])}, "labels must be 2 whole numbers"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.eye(2)}, "labels must be 2 whole numbers"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.array([0, 2**40])}, r"classes, .* got 0 to 1099511627776 in"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.array([3, -1])}, r"classes, 0 to 2\*\*31 - 1, got -1 to 3 in"),
        ({"x_train": np.zeros((2, 2, 2)), "y_train": np.array([0, np.inf])}, "got 0.0 to inf in"),
        ({"x_train": np.full((2, 2, 2), 256), "y_train": np.zeros(2)}, "integers in 0..255"),
        ({"x_train": np.array([[[{}]]], object), "y_train": np.zeros(1)}, "pickled objects"),
    ],
)
def test_unsuitable_npz(tmp_path, arrays, message):
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(ValueError, match=message):
        data.read_npz(tmp_path / "a.npz")


def test_wrong_shape_for_npz(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 5)), y_train=np.zeros(2))
    with pytest.raises(ValueError, match="shape must be the shape of one image"):
        data.read_npz(tmp_path / "a.npz", shape=(2, 2, 1))


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_truncated_npz_is_refused_at_every_length(tmp_path, save):
    buffer = io.BytesIO()
    save(buffer, x_train=np.zeros((2, 2, 2), np.uint8), y_train=np.zeros(2, np.uint8))
    path = tmp_path / "short.npz"
    for length in range(0, len(buffer.getvalue()), 7):
        path.write_bytes(buffer.getvalue()[:length])
        with pytest.raises(ValueError, match=r"read_npz: path must be an intact npz file, got .*short.npz"):
            data.read_npz(path)


def test_npz_with_a_header_that_claims_too_much(tmp_path):
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        buffer, {"descr": "<f8", "fortran_order": False, "shape": (10**6, 10**6, 10**3)}
    )
    with zipfile.ZipFile(tmp_path / "a.npz", "w") as archive:
        archive.writestr("x_train.npy", buffer.getvalue())
        archive.writestr("y_train.npy", buffer.getvalue())
    with pytest.raises(ValueError, match="does not match its size"):
        data.read_npz(tmp_path / "a.npz")


def test_npz_larger_than_allowed_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", x_train=np.zeros((2, 2, 2), np.uint8), y_train=np.zeros(2))
    with pytest.raises(ValueError, match="max_bytes=7"):
        data.read_npz(tmp_path / "a.npz", max_bytes=7)


def test_npz_runs_nothing(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "executed"),))

    (tmp_path / "a.npz").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(ValueError, match="intact npz file"):
        data.read_npz(tmp_path / "a.npz")
    np.savez(tmp_path / "b.npz", x_train=np.array([Bomb()], object), y_train=np.zeros(1))
    with pytest.raises(ValueError, match="pickled objects"):
        data.read_npz(tmp_path / "b.npz")
    assert not (tmp_path / "executed").exists()


def test_missing_npz(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_npz: path must be an existing file"):
        data.read_npz(tmp_path / "a.npz")


# image folders


def make_folder(root: Path) -> Path:
    """Two classes, one with a nested folder, beside things that are no images."""
    for name in ("b/deep/2.PNG", "b/1.jpg", "a/x.png"):
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (6, 4), (255, 0, 0)).save(path)
    (root / "a" / "notes.txt").write_text("no image")
    (root / "a" / "._x.png").write_bytes(b"hidden")
    (root / ".hidden").mkdir()
    return root


def test_image_folder(tmp_path):
    source = data.image_folder(make_folder(tmp_path))
    assert source.classes == ("a", "b") and source.labels == (0, 1, 1) and len(source) == 3
    assert [Path(path).name for path in source.paths] == ["x.png", "1.jpg", "2.PNG"]
    item = source[0]
    assert item["image"].shape == (4, 6, 3) and item["image"].dtype == np.uint8
    np.testing.assert_array_equal(item["image"][0, 0], [255, 0, 0])
    assert item["label"].dtype == np.int32 and item["label"] == 0
    assert len(list(untyped(source))) == 3
    assert pickle.loads(pickle.dumps(source)) == source


def test_image_folder_is_lazy(tmp_path):
    source = data.image_folder(make_folder(tmp_path))
    (tmp_path / "b" / "1.jpg").write_bytes(b"\xff\xd8 no longer an image")
    assert source[0]["image"].shape == (4, 6, 3)
    with pytest.raises(ValueError, match=r"image_folder: root must hold readable images, got '.*1\.jpg'"):
        source[1]


def test_image_folder_names_a_truncated_image(tmp_path):
    (tmp_path / "a").mkdir()
    path = tmp_path / "a" / "cut.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 40, 3)).astype(np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-2000])
    with pytest.raises(ValueError, match=r"got '.*cut\.png'"):
        data.image_folder(tmp_path)[0]


@pytest.mark.errors  # annotations say int
def test_image_folder_sizes(tmp_path):
    (tmp_path / "a").mkdir()
    pixels = np.zeros((10, 30, 3), np.uint8)
    pixels[:, 10:20] = 255
    Image.fromarray(pixels).save(tmp_path / "a" / "wide.png")
    crop = data.image_folder(tmp_path, size=untyped(np.int64(5)))[0]["image"]
    assert crop.shape == (5, 5, 3) and crop[:, 1:-1].min() == 255 and crop.min() > 200  # antialiasing
    stretched = data.image_folder(tmp_path, size=(5, 15), fit="stretch", channels=1)[0]["image"]
    assert stretched.shape == (5, 15, 1)
    np.testing.assert_array_equal(stretched[2, [1, 7, 13], 0], [0, 255, 0])


def test_image_folder_modes(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.full((2, 2), 0x8123, np.uint16)).save(tmp_path / "a" / "1.png")
    Image.new("RGBA", (2, 2), (1, 2, 3, 4)).save(tmp_path / "a" / "2.png")
    Image.new("P", (2, 2), 0).save(tmp_path / "a" / "3.gif")
    Image.new("1", (2, 2), 1).save(tmp_path / "a" / "4.png")
    grey = [item["image"][0, 0].tolist() for item in data.image_folder(tmp_path, channels=1)]
    assert grey[0] == [0x81] and grey[3] == [255]
    assert data.image_folder(tmp_path, channels=4)[1]["image"][0, 0].tolist() == [1, 2, 3, 4]
    assert [item["image"].shape for item in data.image_folder(tmp_path)] == [(2, 2, 3)] * 4


def test_image_folder_turns_photographs_upright(tmp_path):
    (tmp_path / "a").mkdir()
    image = Image.new("RGB", (6, 4))
    exif = image.getexif()
    exif[0x0112] = 6  # lies on its side
    image.save(tmp_path / "a" / "1.jpg", exif=exif)
    assert data.image_folder(tmp_path)[0]["image"].shape == (6, 4, 3)


def test_image_folder_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="root must be an existing folder"):
        data.image_folder(tmp_path / "none")
    with pytest.raises(ValueError, match="root must be a folder with one sub-folder per class"):
        data.image_folder(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match="none in 'empty'"):
        data.image_folder(tmp_path)
    for options in untyped(({"channels": 2}, {"fit": "pad"}, {"size": 0}, {"size": "a"}, {"size": True})):
        with pytest.raises(ValueError, match=f"image_folder: {next(iter(options))} must be"):
            data.image_folder(tmp_path, **options)
