"""The command ``jaxcnn predict``."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import numpy as np

from jaxcnn import report, train
from jaxcnn.cli.options import option, positional
from jaxcnn.cli.output import write, write_table
from jaxcnn.cli.paths import check_output, check_pictures
from jaxcnn.cli.runs import RunOptions, first_run, load_networks, trained_networks
from jaxcnn.report.networks import LabeledImages, Network, classify
from jaxcnn.report.run_page import to_displayable
from jaxcnn.report.style import image_format, render
from jaxcnn.train.input_format import InputFormat, Invert

__all__ = ["Predict", "run_predict"]

COLUMNS = 40
"""Characters that the names of all classes may take for a column each."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Predict(RunOptions):
    """Classify pictures with a network of a run, and draw the probabilities, and where a spatial transformer looked."""

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
    out: Annotated[str | None, option("FILE", "predictions.png in the run folder")] = None
    """Where to draw it; the suffix decides: .png, .jpg, .webp, .pdf or .svg."""


def run_predict(command: Predict) -> None:
    """Prints the probabilities of the classes for each picture, and draws them."""
    info = train.read_run(command.run)
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
    seen = None if answers.seen is None else to_displayable(answers.seen, about.preprocessing)
    shown = to_displayable(inputs, about.preprocessing)
    picture = report.predictions(shown, answers.probabilities, names, classes=classes, corners=answers.frame, seen=seen)
    out.write_bytes(render(picture, kind))
    write(f"Picture: {out}")


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
