"""The networks of a run folder, as the commands that take any run folder load them."""

import dataclasses
import importlib
import importlib.util
import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import flax.linen as nn
import jax

from jaxcnn import train
from jaxcnn.cli.options import CommandOptions, option, positional
from jaxcnn.report.networks import Network, list_networks
from jaxcnn.train.module_description import build_module
from jaxcnn.train.run_folder import read_single_run

__all__ = ["RunOptions", "Trained", "first_run", "load_networks", "trained_networks"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class RunOptions(CommandOptions):
    """What the commands that take a run folder have in common."""

    run: Annotated[str, positional("RUN")]
    """The run folder: of jaxcnn train, or of train.fit or train.fit_ensemble in Python."""
    checkpoint: Annotated[str, option("best|last|STEP", "best, or last where the run did not choose a best one")] = (
        "best"
    )
    """Which checkpoint of each network to take."""
    module: Annotated[str | None, option("MODULE", "none", name="import")] = None
    """Python module or file to import first, where the run's model is of a class of your own."""


@dataclasses.dataclass(frozen=True)
class Trained:
    """A network with its model and variables."""

    network: Network
    model: nn.Module
    variables: dict[str, Any]


def trained_networks(info: train.RunInfo | train.ExperimentInfo) -> list[Network]:
    """Lists the networks of a run and refuses a run that is not trained to its end."""
    networks = list_networks(info)
    missing = next((network for network in networks if not network.trained), None)
    if missing is None:
        return networks
    if isinstance(info, train.ExperimentInfo):
        advice = f"got {info.folder}; jaxcnn train --resume {info.folder} continues it"
        raise ValueError(f"run: folder must be trained as far as {missing.label}, {advice}.")
    raise ValueError(f"run: folder must have a checkpoint, got {info.folder} without one.")


def first_run(info: train.RunInfo | train.ExperimentInfo) -> train.RunInfo:
    """Returns what a run says of model and data; of an experiment its first run, which the others resemble in these."""
    if isinstance(info, train.RunInfo):
        return info
    return read_single_run("run", trained_networks(info)[0].folder)


def load_networks(networks: Sequence[Network], options: RunOptions) -> Iterator[Trained]:
    """Reads networks from their checkpoints, one after another; members of an ensemble are read at once."""
    imported = None if options.module is None else _import(options.module)
    checkpoint = int(options.checkpoint) if options.checkpoint.isdigit() else options.checkpoint
    folder, model, variables = None, None, {}
    for network in networks:
        if network.folder != folder:
            folder, model = network.folder, _build(network.folder, imported)
            _, variables = train.load_model(folder, checkpoint=checkpoint, model=model)
        assert model is not None
        member = network.member
        own = variables if member is None else jax.tree.map(lambda leaf, i=member: leaf[i], variables)
        yield Trained(network, model, own)


def _build(folder: Path, imported: str | None) -> nn.Module:
    info = read_single_run("run", folder)
    try:
        return build_module(info.model if imported is None else _find_in(info.model, imported))
    except ValueError as error:
        hint = "--import FILE.py imports the file that defines its class"
        raise ValueError(f"run: the model of {folder} cannot be built: {error}; {hint}.") from None


def _find_in(description: object, imported: str) -> Any:
    """Takes classes whose module is unknown, or was the main program, from the imported module."""
    if isinstance(description, list):
        return [_find_in(item, imported) for item in description]
    if not isinstance(description, dict):
        return description
    found = {name: _find_in(value, imported) for name, value in description.items()}
    for name in ("class", "type"):
        module, colon, kind = str(found.get(name, "")).partition(":")
        known = module != "__main__" and (module in sys.modules or module.split(".")[0] in ("flax", "jaxcnn"))
        if colon and not known:
            found[name] = f"{imported}:{kind}"
    return found


def _import(source: str) -> str:
    """Imports a module by name, from the working directory too, or from a file; returns its name."""
    path = Path(source)
    name = path.stem if path.suffix == ".py" else source
    try:
        if path.suffix == ".py":
            spec = importlib.util.spec_from_file_location(name, path)
            if spec is None or spec.loader is None:
                raise ImportError(f"{source} is not a Python file")
            module = importlib.util.module_from_spec(spec)
            sys.modules[name] = module
            spec.loader.exec_module(module)
        else:
            sys.path.insert(0, os.getcwd())
            importlib.import_module(name)
    except Exception as error:  # whatever the module does wrong
        reason = f"{type(error).__name__}: {error}"
        raise ValueError(f"run: --import must be a module that can be imported, got {source!r} ({reason}).") from error
    return name
