"""Pictures of digits become what the networks were trained on: light on black, in the middle, of the right size."""

import numpy as np
import PIL.Image
import pytest

from jaxcnn import data
from tests.support.untyped import untyped


def saved(folder, array, mode=None):
    path = folder / "picture.png"
    PIL.Image.fromarray(array, mode).save(path)
    return path


@pytest.mark.parametrize("dark", [True, False])
def test_the_digit_is_cut_out_scaled_and_centred(tmp_path, dark):
    picture = np.zeros((100, 80), np.uint8)
    picture[5:65, 10:40] = 255  # 60 x 30 pixels of ink
    digit = data.read_digit(saved(tmp_path, 255 - picture if dark else picture))
    assert digit.shape == (42, 42, 1) and digit.dtype == np.float32
    rows, columns = np.flatnonzero(digit[..., 0].any(1)), np.flatnonzero(digit[..., 0].any(0))
    assert (rows[0], rows[-1], columns[0], columns[-1]) == (11, 30, 16, 25)  # 20 x 10, in the middle
    np.testing.assert_allclose(digit[11:31, 16:26], 1.0)


def test_a_picture_of_the_canvas_size_is_kept(tmp_path):
    picture = np.random.default_rng(0).integers(0, 100, (42, 42), np.uint8)
    np.testing.assert_array_equal(data.read_digit(saved(tmp_path, picture))[..., 0], picture.astype(np.float32) / 255)
    np.testing.assert_allclose(data.read_digit(saved(tmp_path, picture), invert="yes")[..., 0], 1 - picture / 255.0)


def test_transparent_is_paper(tmp_path):
    picture = np.zeros((60, 60, 4), np.uint8)  # black ink on nothing
    picture[10:50, 25:35, 3] = 255
    digit = data.read_digit(saved(tmp_path, picture))
    assert digit[0, 0, 0] == 0 and digit[21, 21, 0] == 1


def test_errors(tmp_path):
    with pytest.raises(FileNotFoundError, match="read_digit: path must be a file"):
        data.read_digit(tmp_path / "none.png")
    path = saved(tmp_path, np.full((50, 50), 200, np.uint8))
    with pytest.raises(ValueError, match="with something on it"):
        data.read_digit(path)
    with pytest.raises(ValueError, match="size must be 1 to 42 pixels, got 99"):
        data.read_digit(path, size=99)
    with pytest.raises(ValueError, match="invert must be one of"):
        data.read_digit(path, invert=untyped("perhaps"))
