"""The gallery shows every random function, in the order and with the magnitudes that its labels say."""

import io
import re

import jax
import jax.numpy as jnp
import numpy as np
import PIL.Image
import pytest
from matplotlib.backends.backend_agg import FigureCanvasAgg

from jaxcnn import augment, report
from jaxcnn.report import _rows, gallery, gallery_folder

IMAGE = np.random.default_rng(0).uniform(0.2, 0.8, (12, 18, 3)).astype(np.float32)


def texts(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def extents(figure):
    """Gives the boxes in pixels of all texts and of all pictures."""
    renderer = FigureCanvasAgg(figure).get_renderer()
    axis = figure.axes[0]
    return [[thing.get_window_extent(renderer) for thing in things] for things in (axis.texts, axis.images)]


@pytest.mark.parametrize("shape", [(12, 18), (9, 9), (64, 8), (1, 40)])
def test_every_random_function_has_one_row(shape):
    found = [name for row in _rows.rows(shape) for name in row.names]
    assert sorted(found) == sorted(n for n in dir(augment) if n.startswith("random_") and n != "random_apply")
    for row in _rows.rows(shape):
        assert 2 <= len(row.cells) <= 5 and len(row.shown) == len(row.names), row.names
        assert max(row.shown) < 5, row.names


def test_a_function_that_is_new_gets_a_row(monkeypatch):
    def random_nothing(key, image, *, p=1.0):
        return image * p

    offered = [*dir(augment), "random_nothing"]
    monkeypatch.setattr(augment, "random_nothing", random_nothing, raising=False)
    monkeypatch.setattr(augment, "__dir__", lambda: offered)
    row = _rows.rows((4, 4))[-1]
    assert (row.group, row.names, len(row.cells)) == ("others", ("random_nothing",), 5)
    np.testing.assert_array_equal(_rows.cells(IMAGE, row)[4], IMAGE)


def test_cells_are_what_the_options_say():
    (row,) = _rows.rows((12, 18), ["random_brightness"])
    assert [cell.label for cell in row.cells] == ["0.25 times", "0.5 times", "1.3 times", "1.6 times", "2 times"]
    for cell, factor in zip(_rows.cells(IMAGE, row), (0.25, 0.5, 1.3, 1.6, 2.0), strict=True):
        np.testing.assert_allclose(cell, np.clip(IMAGE * factor, 0, 1), atol=1e-6)
    (row,) = _rows.rows((12, 18), ["random_cutout"])
    holes = [int((cell == 0).all(-1).sum()) for cell in _rows.cells(IMAGE, row)]
    assert holes == sorted(holes) and holes[0] < holes[-1]
    (row,) = _rows.rows((12, 18), ["random_crop"])
    assert [cell.shape for cell in _rows.cells(IMAGE, row)][::4] == [(11, 16, 3), (4, 5, 3)]


def test_a_seed_gives_one_gallery():
    (row,) = _rows.rows((12, 18), ["random_affine"])
    first, again, other = (_rows.cells(IMAGE, row, seed=seed) for seed in (0, 0, 1))
    np.testing.assert_array_equal(first, again)
    assert all(np.any(a != b) for a, b in zip(first, other, strict=True))
    assert np.any(first[0] != first[1])  # draws of one row differ


def test_functions_are_drawn_with_their_labels_and_without_overlap():
    figure = gallery.function_gallery(IMAGE, functions=["random_hue", "random_flip_up_down", "random_crop"])
    said = texts(figure)
    assert [said.count(name) for name in ("geometric", "color", "random_hue", "random_crop", "original")] == [
        *(1, 1, 1, 1, 3)
    ]
    boxes, pictures = extents(figure)
    assert len(pictures) == 3 + 3 + 5 + 5
    every = boxes + pictures
    for i, one in enumerate(every):
        assert one.x0 >= 0 and one.y0 >= 0 and one.x1 <= figure.bbox.x1 and one.y1 <= figure.bbox.y1
        for other in every[i + 1 :]:
            apart = one.x1 <= other.x0 + 1 or other.x1 <= one.x0 + 1 or one.y1 <= other.y0 + 1 or other.y1 <= one.y0 + 1
            assert apart, (i, one, other)


@pytest.mark.parametrize("shape", [(40, 6, 3), (6, 40, 3), (5, 5, 1)])
def test_labels_do_not_overlap_whatever_the_shape(shape):
    row = _rows.rows((shape[0], shape[1]), ["random_flip_up_down"])[0]
    other = _rows.rows((shape[0], shape[1]), ["random_contrast"])[0]
    image = np.full(shape, 0.5, np.float32)
    figure = gallery.draw_functions(image, [(r, [image] * len(r.cells)) for r in (row, other)])
    boxes, _ = extents(figure)
    assert not any(a.overlaps(b) for i, a in enumerate(boxes) for b in boxes[i + 1 :])


def test_pictures_keep_their_proportions():
    image = np.zeros((10, 20, 3), np.float32)
    figure = gallery.sample_gallery([image], [[image[:, :10], image]], ["a"])
    sizes = [picture.get_window_extent() for picture in figure.axes[0].images]
    assert [round(box.width / box.height, 3) for box in sizes] == [2.0, 1.0, 2.0]
    assert sizes[1].height == pytest.approx(sizes[2].height)


def test_samples_of_several_images():
    images = [IMAGE, IMAGE[:, :6]]
    drawn = [gallery.policy_samples(gallery.policies()["basic"], image, samples=7) for image in images]
    figure = gallery.sample_gallery(images, drawn, ["one.png", "a_name_that_is_much_too_long_for_a_picture.png"])
    assert len(figure.axes[0].images) == 2 * 8
    said = texts(figure)
    assert [name for name in said if "sample" not in name] == ["one.png", "a_name_th…icture.png"]
    assert said.count("sample 0") == said.count("sample 6") == 2
    boxes, pictures = extents(figure)
    every = boxes + pictures
    assert not any(a.overlaps(b) for i, a in enumerate(every) for b in every[i + 1 :])
    pixels = np.asarray(PIL.Image.open(io.BytesIO(report.png(figure, dpi=40))).convert("L"))
    assert pixels.std() > 20 and pixels.max() == 255


def test_policy_samples_are_draws_of_its_keys():
    policy = augment.random_rotate_90
    drawn = gallery.policy_samples(policy, IMAGE[:, :12], samples=3, seed=4)
    for i, sample in enumerate(drawn):
        key = jax.random.fold_in(jax.random.key(4), i)
        np.testing.assert_array_equal(sample, policy(key, jnp.asarray(IMAGE[:, :12])))


def test_overview_has_a_picture_per_function():
    names = ["random_hue", "random_equalize"]
    figure = gallery.overview_gallery(IMAGE, functions=names)
    assert texts(figure) == ["hue", "invert", "equalize", "autocontrast"]  # functions that share a row come together
    assert len(figure.axes[0].images) == 4


def test_read_image_turns_and_resizes(tmp_path):
    pixels = np.zeros((20, 40, 3), np.uint8)
    pixels[:, 20:] = 255
    exif = PIL.Image.Exif()
    exif[0x0112] = 6  # to be turned by 90 degrees clockwise
    PIL.Image.fromarray(pixels).save(tmp_path / "turned.png", exif=exif)
    image = gallery.read_image(tmp_path / "turned.png", size=10)
    assert image.shape == (10, 5, 3) and image.dtype == np.float32
    np.testing.assert_allclose(image[:3], 0, atol=0.01)
    np.testing.assert_allclose(image[-3:], 1, atol=0.01)


def test_folder_is_written_and_only_its_own_is_replaced(tmp_path):
    options = {"functions": ["random_invert"], "policy": "basic", "size": 12, "samples": 2}
    folder = tmp_path / "deep" / "out"
    written = gallery_folder.write_gallery(folder, overview=True, command="jaxcnn augment <x>", **options)
    assert sorted(path.name for path in folder.iterdir()) == sorted(path.name for path in written)
    text = (folder / "index.html").read_text()
    labels = re.findall(r"<figcaption>(.*?)</figcaption>", text)
    assert labels == ["original", "invert", "equalize", "autocontrast", "original", "sample 0", "sample 1"]
    assert text.count('src="data:image/webp;base64,') == len(labels) and "http" not in text
    assert "jaxcnn augment &lt;x&gt;" in text and "<td>policy</td>" in text
    with PIL.Image.open(folder / "overview.png") as overview:
        assert overview.size[0] == 900
    done = []
    gallery_folder.write_gallery(folder, progress=lambda *counts: done.append(counts), **options)
    assert done == [(0, 2), (1, 2), (2, 2)]  # one function, one picture
    assert not (folder / "overview.png").exists()  # nothing of the earlier call is left
    (folder / "mine.txt").write_text("x")
    with pytest.raises(ValueError, match="out must be new, empty, or a folder of an earlier gallery, got"):
        gallery_folder.write_gallery(folder, **options)
    assert (folder / "mine.txt").read_text() == "x"


@pytest.mark.errors
@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"policy": "best"}, r"augment: policy must be one of \(.*'basic',?\), got 'best'\."),
        ({"size": 7}, "size must be an integer of at least 8, got 7"),
        ({"samples": 0}, "samples must be an integer of at least 1, got 0"),
        ({"seed": -1}, "seed must be an integer of at least 0, got -1"),
        ({"functions": ["random_magic"]}, r"functions must be one of \('random_flip_left_right', .*'random_magic'\."),
    ],
)
def test_errors_of_options(tmp_path, options, message):
    with pytest.raises(ValueError, match=message):
        gallery_folder.write_gallery(tmp_path / "out", **options)
    assert not (tmp_path / "out").exists()


@pytest.mark.errors
def test_errors_of_arrays():
    with pytest.raises(ValueError, match=r"image must be of shape \(h, w, c\), got \(4, 4\)"):
        gallery.function_gallery(np.zeros((4, 4)))
    with pytest.raises(ValueError, match=r"of one length above 0, got \(1, 0, 1\)"):
        gallery.sample_gallery([IMAGE], [], ["a"])
    with pytest.raises(ValueError, match="samples must be a positive integer, got 0"):
        gallery.policy_samples(augment.random_invert, IMAGE, samples=0)
