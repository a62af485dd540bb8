"""Image folders: classes keep their numbers, nothing is left out silently, wide pixels keep their brightness."""

import os

import numpy as np
import pytest
from PIL import Image

from jaxcnn import data
from tests.support.untyped import untyped


def make(root, **files):
    """Makes classes with images of one gray value each: ``a__1="path"`` becomes a/1.png."""
    for place in files.values():
        path = root / place
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("L", (2, 2), 7).save(path, format="png")
    return root


def test_given_classes_number_the_labels(tmp_path):
    """A test folder without one of the classes must not shift the others."""
    make(tmp_path / "train", x="a/1.png", y="b/1.png", z="c/1.png")
    make(tmp_path / "test", x="a/1.png", z="c/1.png")
    train = data.image_folder(tmp_path / "train")
    with pytest.warns(UserWarning, match=r"image_folder: root .* has no images of 'b', of 3 classes"):
        test = data.image_folder(tmp_path / "test", classes=train.classes)
    assert (train.classes, train.labels) == (("a", "b", "c"), (0, 1, 2))
    assert (test.classes, test.labels) == (("a", "b", "c"), (0, 2))
    (tmp_path / "test" / "b").mkdir()  # an empty folder is a class without images too
    with pytest.warns(UserWarning, match="no images of 'b'"):
        assert data.image_folder(tmp_path / "test", classes=train.classes).labels == (0, 2)
    assert data.image_folder(tmp_path / "train", classes=("c", "a", "b")).labels == (0, 1, 2)


def test_classes_errors(tmp_path):
    make(tmp_path, x="a/1.png", z="c/1.png")
    with pytest.raises(ValueError, match=r"root must be a folder of the classes 'a', 'b', got .*, which also has 'c'"):
        data.image_folder(tmp_path, classes=("a", "b"))
    for classes in ("ac", ("a", "c", "a"), (0, 1), ()):
        with pytest.raises(ValueError, match="classes must be distinct names of classes"):
            data.image_folder(tmp_path, classes=untyped(classes))


def test_hidden_folders_links_and_types(tmp_path):
    make(
        tmp_path, x="a/1.png", h="a/.cache/2.png", m="a/__MACOSX/3.png", n="__MACOSX/a/1.png", k="a/4.jfif", q="a/7.qoi"
    )
    make(tmp_path / "elsewhere", x="deep/5.png")
    make(tmp_path, i="a/6.heic")
    (tmp_path / "a" / "link").symlink_to(tmp_path / "elsewhere" / "deep")
    (tmp_path / "a" / "loop").symlink_to(tmp_path / "a")
    os.rename(tmp_path / "elsewhere", tmp_path / ".elsewhere")
    (tmp_path / "a" / "link").unlink()
    (tmp_path / "a" / "link").symlink_to(tmp_path / ".elsewhere" / "deep")
    with pytest.warns(UserWarning, match=r"types that cannot be read \(\.heic\) are left out .*'6.heic'"):
        source = data.image_folder(tmp_path)
    assert source.classes == ("a",)
    assert [os.path.relpath(path, tmp_path / "a") for path in source.paths] == [
        "1.png",
        "4.jfif",
        "7.qoi",
        "link/5.png",
    ]


def test_wide_pixels_keep_their_brightness(tmp_path):
    """Pillow's own conversion clips: 16-bit images would be white, floating ones black."""
    (tmp_path / "a").mkdir()
    images = {
        "1.png": Image.fromarray(np.array([[0, 200]], np.uint16)),  # 16 bits, but made of bytes
        "2.png": Image.fromarray(np.array([[0x0100, 0x8123]], np.uint16)),
        "3.tif": Image.fromarray(np.array([[0, 40_000]], np.int32)),
        "4.tif": Image.fromarray(np.array([[0.0, 0.5]], np.float32)),
        "5.tif": Image.fromarray(np.array([[0.0, 200.0]], np.float32)),
    }
    for name, image in images.items():
        image.save(tmp_path / "a" / name)
    source = data.image_folder(tmp_path, channels=1)
    assert [item["image"].ravel().tolist() for item in source] == [[0, 200], [1, 129], [0, 156], [0, 128], [0, 200]]


def test_errors_of_values_out_of_range(tmp_path):
    (tmp_path / "a").mkdir()
    Image.fromarray(np.array([[0.0, 300.0]], np.float32)).save(tmp_path / "a" / "1.tif")
    Image.fromarray(np.array([[0, -3]], np.int32)).save(tmp_path / "a" / "2.tif")
    for item, message in ((0, r"in 0\.\.255, got 0 to 300"), (1, r"in 0\.\.65535, got -3 to 0")):
        with pytest.raises(ValueError, match=message):
            data.image_folder(tmp_path)[item]


def test_errors_of_named_pipes(tmp_path):
    """Opening one would wait for a writer for ever."""
    make(tmp_path, x="a/1.png")
    os.mkfifo(tmp_path / "a" / "2.png")
    with pytest.raises(ValueError, match="not a regular file"):
        data.image_folder(tmp_path)[1]
    assert [reason for _, reason in data.image_folder(tmp_path, on_error="skip").skipped] == ["not a regular file"]


def test_damaged_files_are_skipped_and_listed(tmp_path):
    make(tmp_path, x="a/1.png", y="a/2.png", z="b/1.png", w="c/1.png")
    os.truncate(tmp_path / "a" / "2.png", 40)
    (tmp_path / "c" / "1.png").write_text("no image")
    with pytest.raises(ValueError, match="none in 'c'"):
        data.image_folder(tmp_path, on_error="skip")
    with pytest.warns(UserWarning, match="no images of 'c'"):
        source = data.image_folder(tmp_path, on_error="skip", classes=("a", "b", "c"))
    assert source.labels == (0, 1) and len([item["image"] for item in source]) == 2
    assert [os.path.relpath(path, tmp_path) for path, _ in source.skipped] == ["a/2.png", "c/1.png"]
    assert all(reason for _, reason in source.skipped)


def test_fingerprints_differ_for_other_data(tmp_path):
    """A run that is continued recognizes its folder, also where it was moved to."""
    source = data.image_folder(make(tmp_path / "x", x="a/1.png", y="b/1.png"))
    moved = data.image_folder(make(tmp_path / "y", x="a/1.png", y="b/1.png"))
    other = data.image_folder(make(tmp_path / "z", x="a/1.png", y="b/2.png"))
    assert source.fingerprint() == moved.fingerprint()
    found = [source, other, data.image_folder(tmp_path / "x", size=4), data.image_folder(tmp_path / "x", channels=1)]
    assert len({s.fingerprint()["content"] for s in found}) == 4
