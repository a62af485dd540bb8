"""The command ``jaxcnn report``."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import jax

from jaxcnn import train
from jaxcnn.cli.evaluate import check_labels, metric_table
from jaxcnn.cli.inputs import find_test_images
from jaxcnn.cli.options import option
from jaxcnn.cli.output import write
from jaxcnn.cli.paths import check_output_folder
from jaxcnn.cli.runs import RunOptions, load_networks, trained_networks
from jaxcnn.recipes._runner import write_experiment_page
from jaxcnn.report.networks import Answers, Network, classify, measure
from jaxcnn.report.run_page import Evaluation, RunPage, write_run_page

__all__ = ["Report", "run_report"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Report(RunOptions):
    """Write plots and a report into a run's folder: learning curves, configuration, and what its networks mistake."""

    data: Annotated[str | None, option("FOLDER|FILE", "the run's own test data, where it says how to get them")] = None
    """Test data: a folder with one sub-folder of pictures per class, a folder with the files of MNIST, an npz file."""


def run_report(command: Report) -> None:
    """Writes ``plots/`` and ``report.html`` of any run folder and prints the path of the page."""
    info = train.read_run(command.run)
    check_output_folder("report", "RUN", info.folder)
    if isinstance(info, train.RunInfo):
        page = _report_run(info, command)
    elif command.data is None and command.checkpoint == "best":
        page = write_experiment_page(info)
    else:
        raise ValueError("report: an experiment takes neither --data nor --checkpoint; report one of its runs instead.")
    write(f"Report: {page}")


def _report_run(info: train.RunInfo, command: Report) -> Path:
    networks = trained_networks(info)
    images = find_test_images(info, command.data)
    evaluation = None
    if images is None:
        measured = {network: _last_evaluation(network) for network in networks}
    else:
        answers: dict[Network, Answers] = {}
        for trained in load_networks(networks, command):
            answers[trained.network] = classify(trained.model, trained.variables, images)
            check_labels(images, answers[trained.network].logits.shape[1])
        count = next(iter(answers.values())).logits.shape[1]
        evaluation = Evaluation(images, info.classes or tuple(map(str, range(count))), answers)
        measured = {network: measure(found, images.labels) for network, found in answers.items()}
    return write_run_page(info, _describe(info, measured, evaluation), networks, evaluation)


def _describe(
    info: train.RunInfo, measured: Mapping[Network, Mapping[str, float]], evaluation: Evaluation | None
) -> RunPage:
    """Writes the words of the page."""
    networks = list(measured)
    last = networks[0].history()[-1]
    variables = train.load_variables(info.folder)
    parameters = sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) // len(networks)
    what = f"{len(networks)} members, {parameters:,} parameters each" if info.members else f"{parameters:,} parameters"
    summary = f"{networks[0].arm} ({what}), trained for {last['step']:,} steps in {last['seconds']:.0f} s."
    source = " as it was evaluated last during training"
    if evaluation is not None:
        source = f", measured on {len(evaluation.images.labels):,} test images"
    header, rows = metric_table(measured) if all(measured.values()) else (["network"], [[n.label] for n in networks])
    configuration = {
        "model": info.model,
        "input": info.input,
        "preprocessing": info.preprocessing,
        "data": info.data,
        "training": {name: value for name, value in info.training.items() if name not in ("key", "tree")},
    }
    note = f"The network{'s' if info.members else ''}{source}." if all(measured.values()) else "There is no test data."
    return RunPage(f"Run {info.folder.name}", summary, header, rows, note, configuration)


def _last_evaluation(network: Network) -> dict[str, float]:
    """Returns the metrics of the last evaluation during training, empty without one."""
    found = [line for line in network.history() if line["split"] == "test"]
    last = found[-1] if found else {}
    values = {"error": last.get("accuracy"), "loss": last.get("loss")}
    values["error"] = None if values["error"] is None else 100 * (1 - values["error"])
    return {name: value for name, value in values.items() if value is not None}
