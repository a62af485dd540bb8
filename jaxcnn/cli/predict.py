"""The command ``jaxcnn predict``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from jaxcnn import graphs, report, train
from jaxcnn.cli.file_prediction import FileOptions, predict_with_file
from jaxcnn.cli.options import given, option, positional
from jaxcnn.cli.output import write, write_table
from jaxcnn.cli.paths import check_output, check_pictures
from jaxcnn.cli.runs import RunOptions, first_run, load_networks, trained_networks
from jaxcnn.report.networks import LabeledImages, Network, classify
from jaxcnn.report.run_page import to_displayable
from jaxcnn.report.style import image_format, render
from jaxcnn.train.input_format import InputFormat, Invert
from jaxcnn.train.step import train_flag
from jaxcnn.zoo.records import weight_records

__all__ = ["Predict", "run_predict"]

COLUMNS = 40
"""Characters that the names of all classes may take for a column each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(RunOptions):
    """Classify pictures with a network of a run or of a weight file, and draw the probabilities, and where it looked.

    Of a run folder the drawing shows where a spatial transformer looked; with --heatmap it shows for any network where
    it saw evidence for the most probable class.
    """

    run: Annotated[str, positional("RUN|FILE")]
    """A run folder, as of jaxcnn train; or a weight file that describes its network, of Keras, TensorFlow, Caffe or
    MatConvNet; or a name of jaxcnn records."""
    images: Annotated[tuple[str, ...], positional("IMAGE")]
    """Pictures of any size. They are brought to the size and range of the network's inputs; for digits, dark on light
    or light on dark, the ink is cut out and centered first."""
    arm: Annotated[str | None, option("ARM", "the last, which is behind a transformer where the run has one")] = None
    """Of an experiment: which arm."""
    seed: int = 0
    """Of an experiment: which of the arm's seeds."""
    member: Annotated[int | None, option("N", "the best")] = None
    """Of an ensemble: which member."""
    invert: Invert = "auto"
    """For digits: whether to swap dark and light; auto does where a picture's edge is light."""
    heatmap: bool = False
    """Draw where the network saw evidence for the most probable class."""
    model: Annotated[str | None, option("NAME", "the record's")] = None
    """Of a weight file that does not describe its network: the name of a model of jaxcnn models."""
    graph: Annotated[str | None, option("FILE", "the file of the same stem beside the weights")] = None
    """Of a caffemodel: the prototxt of the network."""
    mean: Annotated[str | None, option("FILE|NUMBERS", "as file or record state")] = None
    """Of a weight file: what is subtracted from its inputs: a mean image of Caffe, or numbers such as 104,117,123."""
    std: Annotated[str | None, option("NUMBERS", "as file or record state")] = None
    """Of a weight file: what its inputs are divided by, after the mean is subtracted."""
    value_range: Annotated[str | None, option("LOW,HIGH", "as file or record state, else 0,255")] = None
    """Of a weight file: black and white before the mean is subtracted, 0,1 or 0,255."""
    color_order: Annotated[Literal["RGB", "BGR"] | None, option("RGB|BGR", "as file or record state, else RGB")] = None
    """Of a weight file: order of the channels."""
    labels: Annotated[str | None, option("FILE|NAME", "as file or record state")] = None
    """Of a weight file: the names of its classes, in a file with one per line, or the name of a known list."""
    download: bool = False
    """Download the file of a record if it is missing."""
    out: Annotated[str | None, option("FILE", "predictions.png in the run folder, or in the working directory")] = None
    """Where to draw it; the suffix decides: .png, .jpg, .webp, .pdf or .svg."""


def run_predict(command: Predict) -> None:
    """Prints the probabilities of the classes for each picture, and draws them."""
    if not Path(command.run).is_dir() or _holds_network(Path(command.run)):
        _predict_with_file(command)
        return
    info = train.read_run(command.run)
    _refuse("a weight file", command, _FILE_OPTIONS)
    out = Path(command.out) if command.out else info.folder / "predictions.png"
    check_output("predict", "--out", out)
    kind = image_format("predict", "--out", out)
    network = _choose(info, command)
    about = first_run(info)
    form = InputFormat.of(about)
    if command.invert != "auto" and not form.reads_digits:
        raise ValueError(
            f"predict: --invert must be left alone, as the run does not read digits, got {command.invert}."
        )
    check_pictures("predict", command.images)
    inputs = np.stack([form.read(path, invert=command.invert) for path in command.images])
    (trained,) = load_networks([network], command)
    answers = classify(trained.model, trained.variables, LabeledImages(np.zeros(len(inputs), int), lambda i: inputs[i]))
    classes = about.classes or tuple(map(str, range(answers.logits.shape[1])))
    names = [Path(path).name for path in command.images]
    _write_probabilities(names, answers.probabilities, classes)
    heat = None
    if command.heatmap:
        best, flags = answers.probabilities.argmax(-1)[:, None], train_flag(trained.model, False)
        found = graphs.compute_heat_maps(trained.model, trained.variables, inputs, classes=best, **flags)
        heat = list(np.asarray(found)[..., 0])
    seen = None if answers.seen is None else to_displayable(answers.seen, about.preprocessing)
    shown = to_displayable(inputs, about.preprocessing)
    probabilities, frame = answers.probabilities, answers.frame
    picture = report.predictions(shown, probabilities, names, classes=classes, corners=frame, seen=seen, heat=heat)
    out.write_bytes(render(picture, kind))
    write(f"Picture: {out}")


_RUN_OPTIONS = ("--arm", "--seed", "--member", "--checkpoint", "--module", "--invert")
_FILE_OPTIONS = ("--model", "--graph", "--mean", "--std", "--value-range", "--color-order", "--labels", "--download")


def _holds_network(folder: Path) -> bool:
    """Tests whether a folder is one of TensorFlow's, whose networks are in several files."""
    return not (folder / "run.json").exists() and (folder / "saved_model.pb").exists()


def _predict_with_file(command: Predict) -> None:
    if not Path(command.run).exists() and weight_records.find(command.run) is None:
        hint = weight_records.suggest_record(command.run)
        expected = "an existing run folder or weight file, or the name of a record"
        raise ValueError(f"predict: RUN|FILE must be {expected}, got {command.run!r}{hint}.")
    _refuse("a run folder", command, _RUN_OPTIONS)
    out = Path(command.out or "predictions.png")
    check_output("predict", "--out", out)
    kind = image_format("predict", "--out", out)
    check_pictures("predict", command.images)
    names = [field.name for field in dataclasses.fields(FileOptions)]
    options = FileOptions(**{name: getattr(command, name) for name in names})
    predict_with_file(command.run, command.images, options, heatmap=command.heatmap, out=out, form=kind)


def _refuse(kind: str, command: Predict, names: Sequence[str]) -> None:
    """Refuses options that are for the other kind of network."""
    wrong = [name for name in given(command) if name in names]
    if wrong:
        shown = ", ".join(name.replace("--module", "--import") for name in wrong)
        raise ValueError(f"predict: {shown} must be left out, except for {kind}, got {command.run!r}.")


def _choose(info: train.RunInfo | train.ExperimentInfo, command: Predict) -> Network:
    """Finds the network that the options name."""
    networks = trained_networks(info)
    if isinstance(info, train.ExperimentInfo):
        arm = command.arm or networks[-1].arm
        found = [network for network in networks if network.arm == arm and network.seed == command.seed]
        if not found:
            arms = ", ".join(dict.fromkeys(network.arm for network in networks))
            seeds = 1 + max(network.seed or 0 for network in networks)
            text = f"predict: the run must have {arm} seed {command.seed}; it has {arms}"
            raise ValueError(f"{text}, seeds 0 to {seeds - 1}.")
        return found[0]
    if info.members is None:
        return networks[0]
    member = _best_member(networks) if command.member is None else command.member
    if not 0 <= member < info.members:
        raise ValueError(f"predict: --member must be one of the {info.members} members, from 0, got {member}.")
    return networks[member]


def _best_member(networks: Sequence[Network]) -> int:
    """Returns the member with the highest last test accuracy, the first where there is none."""
    last = [0.0] * len(networks)
    for i, network in enumerate(networks):
        for line in network.history():
            if line["split"] == "test":
                last[i] = line.get("accuracy") or 0.0
    return int(np.argmax(last))


def _write_probabilities(names: Sequence[str], probabilities: np.ndarray, classes: Sequence[str]) -> None:
    """Prints all probabilities, or the largest three where there are many classes or long names."""
    if sum(len(name) + 3 for name in classes) <= COLUMNS:
        rows = [
            (name, classes[int(p.argmax())], *(f"{100 * v:.0f}" for v in p))
            for name, p in zip(names, probabilities, strict=True)
        ]
        write_table(("image", "class", *classes), rows, title="probability in percent")
        return
    top = [np.argsort(-p, kind="stable")[:3].tolist() for p in probabilities]
    rows = [
        (name, *(f"{classes[j]} {100 * p[j]:.0f} %" for j in best))
        for name, p, best in zip(names, probabilities, top, strict=True)
    ]
    write_table(("image", "most probable", "second", "third")[: 1 + len(top[0])], rows)
