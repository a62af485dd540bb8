"""The command ``jaxcnn eval``."""

import dataclasses
from collections.abc import Mapping
from typing import Annotated

import numpy as np

from jaxcnn import train
from jaxcnn.cli.inputs import find_test_images
from jaxcnn.cli.options import option
from jaxcnn.cli.output import write, write_table
from jaxcnn.cli.runs import RunOptions, first_run, load_networks, trained_networks
from jaxcnn.report.networks import LabeledImages, Network, classify, measure

__all__ = ["Eval", "check_labels", "metric_table", "run_eval"]

TITLES = {"error": "test error, %", "loss": "test loss", "top-5 error": "top-5 error, %"}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Eval(RunOptions):
    """Measure the test error of a run's networks again, from their checkpoints."""

    data: Annotated[str | None, option("FOLDER|FILE", "the run's own test data, where it says how to get them")] = None
    """Test data: a folder with one sub-folder of pictures per class, a folder with the files of MNIST, an npz file."""


def run_eval(command: Eval) -> None:
    """Prints the test metrics of every network of a run, and their mean where there are several of an arm."""
    info = train.read_run(command.run)
    networks = trained_networks(info)
    images = find_test_images(first_run(info), command.data)
    if images is None:
        raise ValueError(
            f"eval: --data must name test data, as {command.run} does not say where its own are, or they are gone."
        )
    found: dict[Network, dict[str, float]] = {}
    for trained in load_networks(networks, command):
        answers = classify(trained.model, trained.variables, images)
        check_labels(images, answers.logits.shape[1])
        found[trained.network] = measure(answers, images.labels)
    write_table(*metric_table(found))
    write(f"{len(images.labels):,} test images")


def check_labels(images: LabeledImages, classes: int) -> None:
    """Refuses labels that the network has no output for."""
    low, high = int(images.labels.min()), int(images.labels.max())
    if low < 0 or high >= classes:
        raise ValueError(f"run: --data must have labels 0 to {classes - 1}, got {low} to {high}.")


def metric_table(found: Mapping[Network, Mapping[str, float]]) -> tuple[list[str], list[list[str]]]:
    """Returns header and rows: one per network, and the mean of every arm with several."""
    names = list(next(iter(found.values())))
    digits = {name: 3 if name == "loss" else 2 for name in names}
    rows = []
    for arm in dict.fromkeys(network.arm for network in found):
        own = {network: values for network, values in found.items() if network.arm == arm}
        rows += [[n.label, *(f"{values[name]:.{digits[name]}f}" for name in names)] for n, values in own.items()]
        if len(own) > 1:
            columns = {name: [values[name] for values in own.values()] for name in names}
            means = [f"{np.mean(c):.{digits[n]}f} ± {np.std(c, ddof=1):.{digits[n]}f}" for n, c in columns.items()]
            rows.append([f"{arm}, mean", *means])
    return ["network", *(TITLES[name] for name in names)], rows
