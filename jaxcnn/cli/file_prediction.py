"""``jaxcnn predict`` with a network of a weight file."""

import dataclasses
import functools
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxcnn import graphs, report, zoo
from jaxcnn._typing import AnyArray
from jaxcnn.cli.output import write, write_table
from jaxcnn.data.folder import read_picture
from jaxcnn.graphs import GraphNetwork
from jaxcnn.graphs.heatmaps import find_class_output
from jaxcnn.report.style import render
from jaxcnn.zoo.preprocessing import preprocess_image

__all__ = ["FileOptions", "predict_with_file"]

_TOP = 5


@dataclasses.dataclass(frozen=True)
class FileOptions:
    """What the user says of a weight file; None where nothing."""

    model: str | None = None
    graph: str | None = None
    mean: str | None = None
    std: str | None = None
    value_range: str | None = None
    color_order: str | None = None
    labels: str | None = None
    download: bool = False


class _Answer(NamedTuple):
    shown: np.ndarray  # (h, w, c) in [0, 1]
    probabilities: np.ndarray
    heat: np.ndarray | None


def predict_with_file(
    file: str, images: Sequence[str], options: FileOptions, *, heatmap: bool, out: Path, form: str
) -> None:
    """Classifies pictures with the network of a file, prints the most probable classes and draws them.

    Args:
        file: The file, or the name of a record.
        images: Pictures.
        options: What the user says of the file.
        heatmap: Whether to draw where the network saw evidence.
        out: Where to draw.
        form: Format of the drawing.

    Raises:
        ValueError: If the network does not classify, or its input is not known.
    """
    pretrained = _load(file, options)
    output = _find_output(pretrained.model)
    channels = pretrained.input_shape[-1] or 3
    answers = [_answer(pretrained, output, read_picture(path, channels), heatmap=heatmap) for path in images]
    count = len(answers[0].probabilities)
    classes = pretrained.labels
    if classes is not None and len(classes) != count:
        if options.labels is not None:
            raise ValueError(f"predict: --labels must name the network's {count} classes, got {len(classes)} names.")
        write(f"note: the names of classes are left out: there are {len(classes)} for {count} classes")
        classes = None
    classes = classes or tuple(map(str, range(count)))
    _write_answers([Path(path).name for path in images], answers, classes, out, form)


def _write_answers(
    names: Sequence[str], answers: Sequence[_Answer], classes: Sequence[str], out: Path, form: str
) -> None:
    """Prints the most probable classes, and draws them with the pictures."""
    rows = []
    for name, answer in zip(names, answers, strict=True):
        best: list[int] = np.argsort(-answer.probabilities, kind="stable")[:_TOP].tolist()
        for i in best:
            rows.append((name, classes[i], f"{100 * answer.probabilities[i]:.1f}", f"{i}"))
    write_table(("image", "class", "probability, %", "number"), rows)
    heat = [answer.heat for answer in answers if answer.heat is not None]
    figure = report.predictions(
        [answer.shown for answer in answers],
        np.stack([answer.probabilities for answer in answers]),
        names,
        classes=classes,
        heat=heat or None,
    )
    out.write_bytes(render(figure, form))
    write(f"Picture: {out}")


def _find_output(model: nn.Module) -> str | None:
    """Finds the output of a network of a file that has a number per class; other models have one output."""
    if not isinstance(model, GraphNetwork):
        return None
    try:
        return find_class_output(model)
    except ValueError as error:
        outputs = str(error).partition("; ")[2]
        raise ValueError(f"predict: FILE must be a classifier, with one number per class; {outputs}") from None


def _load(file: str, options: FileOptions) -> zoo.Pretrained:
    """Loads the network, and takes what the user says of its input."""
    image = options.mean if options.mean is not None and os.path.isfile(options.mean) else None
    pretrained = zoo.load(
        file, model=options.model, graph=options.graph, mean=image, labels=options.labels, download=options.download
    )
    given: dict[str, Any] = {}
    if options.mean is not None and image is None:
        given["mean"] = _numbers("--mean", options.mean)
        pretrained = dataclasses.replace(pretrained, mean_image=None)
    if options.std is not None:
        given["std"] = _numbers("--std", options.std)
    if options.value_range is not None:
        low_high = _numbers("--value-range", options.value_range)
        if low_high not in ((0, 1), (0, 255)):
            raise ValueError(f"predict: --value-range must be 0,1 or 0,255, got {options.value_range}.")
        given["value_range"] = low_high
    if options.color_order is not None:
        given["color_order"] = options.color_order
    if given:
        known = pretrained.preprocessing or zoo.Preprocessing()
        pretrained = dataclasses.replace(pretrained, preprocessing=dataclasses.replace(known, **given))
    if pretrained.preprocessing is None and pretrained.reader is None:
        raise ValueError(
            f"predict: FILE must state how pictures become its input, which {file!r} does not: "
            "say it by --value-range, --mean, --std and --color-order."
        )
    return pretrained


def _numbers(name: str, text: str) -> tuple[float, ...]:
    try:
        return tuple(float(part) for part in text.split(","))
    except ValueError:
        expected = "numbers with commas between them" + (", or an existing file" if name == "--mean" else "")
        raise ValueError(f"predict: {name} must be {expected}, got {text!r}.") from None


def _answer(pretrained: zoo.Pretrained, output: str | None, picture: np.ndarray, *, heatmap: bool) -> _Answer:
    """Computes the probabilities of one picture, and the map of the most probable class."""
    model: Any = pretrained.model
    x = pretrained.preprocess(picture)[None]
    chosen = model if output is None else model.clone(outputs=(output,))
    values = np.asarray(_run(chosen, pretrained.variables, x), np.float64)[0]
    if values.ndim > 1 and values.size != values.shape[-1]:
        raise ValueError(
            f"predict: FILE must be a classifier, with one number per class; for a picture of {x.shape[1:]} its output "
            f"{output or ''} has the shape {values.shape}."
        )
    values = values.reshape(-1)
    kind = pretrained.activation if output is None else graphs.find_activation(model.selected(), output=output)
    probabilities = values if kind == "probabilities" else np.asarray(jax.nn.softmax(values))
    heat = None
    if heatmap:
        best = np.asarray([[int(probabilities.argmax())]])
        heat = np.asarray(_explain(model, pretrained.variables, x, best))[0, ..., 0]
    return _Answer(_show(pretrained, picture), probabilities, heat)


@functools.partial(jax.jit, static_argnums=0)
def _run(model: nn.Module, variables: Any, x: AnyArray) -> Any:
    return model.apply(variables, x)


@functools.partial(jax.jit, static_argnums=0)
def _explain(model: nn.Module, variables: Any, x: AnyArray, classes: AnyArray) -> Any:
    return graphs.compute_heat_maps(model, variables, x, classes=classes)


def _show(pretrained: zoo.Pretrained, picture: np.ndarray) -> np.ndarray:
    """Cuts out of a picture what the network reads."""
    known = pretrained.preprocessing
    assert known is not None
    plain = dataclasses.replace(known, value_range=(0, 1), mean=None, std=None, color_order="RGB")
    return np.clip(preprocess_image(picture, plain, shape=pretrained.input_shape), 0, 1)
