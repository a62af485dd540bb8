"""The command ``jaxcnn predict``."""

import dataclasses
from pathlib import Path
from typing import Annotated, Literal

import tyro

from jaxcnn.cli.options import option, table
from jaxcnn.recipes.rts_digits import Arm

__all__ = ["Predict", "run_predict"]


@dataclasses.dataclass(frozen=True)
class Predict:
    """Classify pictures of digits with a network of a run, and draw where it looked."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """The run folder."""
    images: Annotated[
        tyro.conf.Positional[tuple[str, ...]], tyro.conf.arg(metavar="IMAGE", help_behavior_hint="(required)")
    ]
    """Pictures of one digit each, of any size; dark on light or light on dark."""
    arm: Annotated[Arm | None, option(None, "the one behind a transformer, where the run has one")] = None
    """Which network."""
    seed: int = 0
    """Which of its seeds."""
    invert: Literal["auto", "yes", "no"] = "auto"
    """Whether to swap dark and light; auto does where a picture's edge is light."""
    out: Annotated[str | None, option("FILE", "predictions.png in the run folder")] = None
    """Where to draw it."""


def run_predict(command: Predict) -> None:
    """Prints the probabilities of every class for each picture, and draws them."""
    import numpy as np
    from rich.console import Console

    from jaxcnn import data, report
    from jaxcnn.recipes import _experiment as experiment
    from jaxcnn.recipes import _report as rts_report

    folder = Path(command.run)
    config = experiment.read_folder(folder)
    if not command.images:
        raise ValueError("predict: images must be at least one picture, got none.")
    arm = command.arm or config.arms[-1]
    found = [n for n in experiment.networks(config, folder) if n.arm == arm and n.seed == command.seed]
    if not found:
        text = f"predict: the run must have {arm} seed {command.seed}; it has {', '.join(config.arms)}"
        raise ValueError(f"{text}, seeds 0 to {config.seeds - 1}.")
    images = np.stack([data.read_digit(path, canvas=config.canvas, invert=command.invert) for path in command.images])
    parts = experiment.classify(config, found[0], experiment.load(found[0]), images)
    classes, names = rts_report.CLASSES, [Path(path).name for path in command.images]
    rows = [
        (name, classes[int(p.argmax())], *(f"{100 * v:.0f}" for v in p))
        for name, p in zip(names, parts["probabilities"], strict=True)
    ]
    Console().print(table(("image", "digit", *classes), rows, title="probability in percent"))
    out = Path(command.out) if command.out else folder / "predictions.png"
    picture = report.predictions(
        images, parts["probabilities"], names, classes=classes, corners=parts.get("frame"), seen=parts.get("seen")
    )
    out.write_bytes(report.png(picture))
    Console().print(f"Picture: {out}", highlight=False, soft_wrap=True)
