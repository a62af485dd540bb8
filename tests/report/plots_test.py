"""Plots draw what they are given, and the page escapes what it is told."""

import io

import matplotlib.colors
import matplotlib.text
import numpy as np
import PIL.Image
import pytest

from jaxcnn import report
from jaxcnn.report.run_page import _hardest
from jaxcnn.report.style import to_dark
from tests.support.untyped import untyped


def pixels(figure):
    return np.asarray(PIL.Image.open(io.BytesIO(report.png(figure, dpi=72))).convert("RGB"), int)


def history(offset):
    return [
        {"step": s, "split": split, "loss": 1 / s + offset, "accuracy": 0.9 - offset - 0.5 / s}
        for s in (1, 2, 3)
        for split in ("train", "test")
    ]


def test_learning_curves_show_mean_and_range_of_each_arm():
    figure = untyped(report.learning_curves)({"a": [history(0.0), history(0.1)], "b": [history(0.2)]})
    loss, error = figure.axes
    np.testing.assert_allclose(loss.lines[0].get_ydata(), [1.05, 0.55, 1 / 3 + 0.05])
    np.testing.assert_allclose(error.lines[1].get_ydata(), [80, 55, 30 + 50 / 3])
    assert [text.get_text() for text in error.get_legend().get_texts()] == ["a", "b"]


def test_frames_are_drawn_where_they_read():
    images = np.zeros((3, 10, 20, 1))
    corners = np.tile(np.array([[-1.0, -1], [0, -1], [0, 1], [-1, 1]]), (3, 1, 1))  # the left half
    figure = untyped(report.frames)(images, corners, np.ones((3, 4, 4, 1)), ["x", "y", "z"], columns=2)
    assert len(figure.axes) == 8  # two rows of two pairs
    x, y = figure.axes[0].lines[0].get_data()
    np.testing.assert_allclose(x, [-0.5, 9.5, 9.5, -0.5, -0.5])  # edges of pixels, whose centres are integers
    np.testing.assert_allclose(y, [-0.5, -0.5, 9.5, 9.5, -0.5])
    drawn = pixels(figure)
    assert ((drawn[..., 0] > 180) & (drawn[..., 2] < 100)).sum() > 50  # the frame's colour


def test_frames_without_a_transformer():
    assert len(report.frames(np.zeros((2, 4, 4, 1)), None, None, ["x", "y"]).axes) == 2


def test_confusion_counts_and_shares():
    counts = np.array([[3, 1], [0, 0]])
    (axis,) = untyped(report.confusion)({"net": counts}, classes=["a", "b"]).axes
    np.testing.assert_allclose(axis.images[0].get_array(), [[0.75, 0.25], [0, 0]])
    assert [text.get_text() for text in axis.texts] == ["3", "1"]


def test_mistakes_are_the_surest_ones_first():
    probabilities = np.array([[0.9, 0.1], [0.45, 0.55], [0.2, 0.8], [0.05, 0.95]])
    figure = report.mistakes(np.zeros((4, 4, 4, 1)), np.zeros(4, int), probabilities, classes=["a", "b"])
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["a → b (95 %)", "a → b (80 %)", "a → b (55 %)"]
    figure = report.mistakes(np.zeros((1, 4, 4, 1)), np.zeros(1, int), probabilities[:1], classes=["a", "b"])
    assert figure.axes[0].texts[0].get_text() == "no mistakes"


def test_the_hardest_mistakes_differ():
    """Of every original one version, and every kind of mistake once before any is shown twice."""
    labels = np.array([0, 0, 0, 0, 1, 0, 0])
    predicted = np.array(
        [[0.1, 0.9, 0], [0.2, 0.8, 0], [0.05, 0.95, 0], [0.3, 0.7, 0], [0.5, 0.4, 0.1], [0.4, 0, 0.6], [1, 0, 0]]
    )
    assert _hardest(labels, predicted, None).tolist() == [2, 0, 1, 3, 4, 5]
    assert _hardest(labels, predicted, None, most=3).tolist() == [2, 4, 5]
    assert _hardest(labels, predicted, np.array([0, 1, 0, 1, 2, 0, 1])).tolist() == [2, 1, 4]
    assert _hardest(labels[-1:], predicted[-1:], None).tolist() == [0]


def test_predictions_show_every_image():
    figure = untyped(report.predictions)(
        np.zeros((2, 4, 4, 1)), np.array([[0.2, 0.8], [0.7, 0.3]]), ["p.png", "q.png"], classes=["a", "b"]
    )
    assert [axis.get_title() for axis in figure.axes] == ["p.png", "b (80.0 %)", "q.png", "a (70.0 %)"]
    np.testing.assert_allclose([bar.get_height() for bar in figure.axes[1].patches], [20, 80])


def test_many_classes_and_long_names_stay_readable():
    classes = [f"a class with a long name {i}" for i in range(30)]
    likely = np.linspace(1, 2, 30)[None] / 45
    names = ["IMG_2024_from_a_camera_0001.jpeg"]
    picture, bars = untyped(report.predictions)(np.zeros((1, 4, 4, 3)), likely, names, classes=classes).axes
    assert picture.get_title() == "IMG_2024…0001.jpeg"
    assert [text.get_text() for text in bars.get_yticklabels()] == ["a class with a…"] * 5
    np.testing.assert_allclose([bar.get_width() for bar in bars.patches], 100 * likely[0, :-6:-1])
    (axis,) = report.confusion({"net": np.eye(30, dtype=int)}, classes=classes).axes
    assert not axis.texts and axis.get_xlabel() == "predicted class, number"
    (axis,) = report.mistakes(np.zeros((1, 4, 4, 3)), np.zeros(1, int), likely, classes=classes).axes
    assert axis.get_title() == "a class with…\n→ a class with… (4 %)"


def test_every_arm_has_a_curve_of_its_own():
    figure = report.learning_curves({f"arm {i}": [history(0.01 * i)] for i in range(7)})
    looks = {(line.get_color(), line.get_linestyle()) for line in figure.axes[0].lines}
    assert len(looks) == 7


def test_runs_that_stop_earlier_count_as_far_as_they_go():
    figure = untyped(report.learning_curves)({"a": [history(0.0), history(0.1)[:2]]})
    np.testing.assert_allclose(figure.axes[0].lines[0].get_ydata(), [1.05, 0.5, 1 / 3])


def test_without_accuracy_the_test_loss_is_drawn():
    lines = [{"step": 1, "split": "test", "loss": 0.5}]
    _, right = report.learning_curves({"a": [lines]}).axes
    assert right.get_ylabel() == "test loss" and right.lines[0].get_ydata() == [0.5]


def test_figures_of_a_page_keep_a_readable_width():
    png = report.png(report.frames(np.zeros((1, 4, 4, 1)), None, None, ["x"]), dpi=100)
    width = PIL.Image.open(io.BytesIO(png)).width
    assert f'style="--wide: {round(0.55 * width)}px"' in report.figure_html(png, "c", alternative="a")
    shown = untyped(report.figure_html)(png, "c", alternative="a", variants={"(max-width: 9px)": png, "(a < b)": png})
    assert shown.count("<source") == 2 and '<source media="(a &lt; b)" srcset="data:image/png' in shown
    assert f"--wide: {round(0.55 * width)}px; --narrow: {round(0.55 * width)}px" in shown


def test_tables_name_the_column_of_every_cell():
    """On narrow screens each row becomes a block, in which the names stand before the cells."""
    table = report.table_html(["network", "error, %", "<n>"], [["cnn", "1.0", 2]])
    assert '<table class="many">' in table and '<td class="number" data-name="error, %">1.0</td>' in table
    assert '<td class="number" data-name="&lt;n&gt;">2</td>' in table


def test_figures_for_narrow_screens_have_fewer_columns():
    histories = {"a": [history(0.0)]}
    wide, narrow = (untyped(report.learning_curves)(histories, columns=n) for n in (2, 1))
    assert [axis.get_ylabel() for axis in narrow.axes] == [axis.get_ylabel() for axis in wide.axes]
    assert narrow.get_figwidth() < wide.get_figwidth() and narrow.get_figheight() > wide.get_figheight()
    matrices = {name: np.eye(2, dtype=int) for name in "abc"}
    stacked = untyped(report.confusion)(matrices, classes=["x", "y"], columns=2)
    assert [axis.get_title() for axis in stacked.axes] == ["a", "b", "c", ""]
    wrong = np.tile([[0.1, 0.9]], (5, 1))
    figure = untyped(report.mistakes)(np.zeros((5, 4, 4, 1)), np.zeros(5, int), wrong, classes=["a", "b"], columns=3)
    assert len(figure.axes) == 6 and figure.get_figwidth() == 4.5


def test_figures_for_dark_pages_are_light_on_dark():
    counts = np.array([[4, 0], [1, 1]])
    for figure in (
        untyped(report.learning_curves)({"a": [history(0.0)]}),
        untyped(report.confusion)({"net": counts}, classes=["a", "b"]),
    ):
        light, dark = pixels(figure).mean(-1), pixels(to_dark(figure)).mean(-1)
        assert np.median(light) == 255 and np.median(dark) < 30
        assert ((light < 60).sum() > 50) and ((dark > 200).sum() > 50)  # text
        texts = [text for text in figure.findobj(matplotlib.text.Text) if text.get_text()]
        assert all(sum(matplotlib.colors.to_rgb(text.get_color())) > 2 for text in texts if text.get_text() != "4")


def test_page_escapes_text(tmp_path):
    report.write_page(tmp_path / "p.html", "a < b", "c & d", [("<h>", [report.table_html(["<i>"], [["<j>"]])])])
    text = (tmp_path / "p.html").read_text()
    for escaped in ("a &lt; b", "c &amp; d", "&lt;h&gt;", "&lt;i&gt;", "&lt;j&gt;"):
        assert escaped in text
    assert "<j>" not in text


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: report.learning_curves({}), "learning_curves: histories must be at least one arm"),
        (lambda: report.frames(np.zeros((2, 4, 4, 1)), None, None, ["x"]), "frames: captions must be of length 2"),
        (lambda: report.confusion({"n": np.eye(2)}, classes=["a"]), r"of shape \(1, 1\), got \(2, 2\)"),
        (lambda: report.mistakes(np.zeros((2, 4, 4, 1)), np.zeros(1), np.zeros((2, 2)), classes="ab"), "one length"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
