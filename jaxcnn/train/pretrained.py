"""Loads run folders as pretrained networks; ``zoo.load`` asks here."""

import dataclasses
from pathlib import Path

from jaxcnn.train.input_format import InputFormat
from jaxcnn.train.loading import has_evaluations, load_model
from jaxcnn.train.run_folder import ExperimentInfo, RunInfo, read_run, read_single_run
from jaxcnn.zoo.pretrained import Pretrained

__all__ = ["load_run"]


def load_run(path: Path) -> Pretrained | None:
    """Loads a network of a run folder.

    Args:
        path: A folder that ``fit``, ``fit_ensemble`` or ``jaxcnn train`` wrote.

    Returns:
        The network of the best checkpoint, or of the last one where the run did not choose: of an experiment the one of
        the last arm's first seed, of an ensemble the best member. None if the path is no run folder.

    Raises:
        ValueError: If the folder is damaged, has no checkpoint, or its model cannot be built.
    """
    if not (path / "run.json").is_file():
        return None
    info = read_run(path)
    notes = []
    if isinstance(info, ExperimentInfo):
        chosen = next(run for run in info.runs if run.arm == info.runs[-1].arm)
        notes.append(f"Of {len(info.runs)} runs: {chosen.arm}, seed {chosen.seed}, in {chosen.path}.")
        info = read_single_run("load", info.folder / chosen.path)
    member = None
    if info.members is not None:
        member = "best" if has_evaluations(info) else 0
        notes.append(f"Of {info.members} members: {'the best' if member else 'the first, as none was evaluated'}.")
    model, variables = load_model(info.folder, member=member)
    return _describe(info, notes, Pretrained(model, variables, labels=info.classes, activation="logits"))


def _describe(info: RunInfo, notes: list[str], network: Pretrained) -> Pretrained:
    """Adds what the run says of its inputs."""
    provenance = {"path": str(info.folder), "format": "run folder", "framework": "jaxcnn", "notes": tuple(notes)}
    shape = tuple(info.input["shape"])
    if len(shape) != 3:
        return dataclasses.replace(network, provenance=provenance)
    form = InputFormat.of(info)
    return dataclasses.replace(
        network,
        preprocessing=form.describe(),
        input_shape=form.shape,
        reader=form.convert,
        provenance=provenance,
    )
