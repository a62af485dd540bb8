"""Runs an experiment: every arm with every seed, resumed piece by piece, measured, compared and shown.

Layout of the folder::

    run.json                    format, versions, device; name and configuration of the recipe; its runs
    cnn/seed0/ ...              one run folder of ``train.fit`` per arm and seed, with its checkpoints
    metrics.jsonl               all lines of all runs, with "arm" and "seed"
    results.json                test errors, parameters, times
    plots/*.png  report.html    to look at

An experiment is a file of this folder with a ``RECIPE``: what is trained, on what, and how it is tested.
"""

import dataclasses
import importlib
import json
import pkgutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar, Generic, Protocol, TypeVar, runtime_checkable

import flax.linen as nn
import jax
import numpy as np
import optax

from jaxcnn import train
from jaxcnn._check import check, check_choice, is_integer_at_least
from jaxcnn._typing import Batch, PRNGKey, Variables
from jaxcnn.recipes._results import HEADER, Results, comparison_sentence, result_rows, summarize_experiment
from jaxcnn.report.networks import LabeledImages, Network, classify, list_networks
from jaxcnn.report.run_page import Evaluation, RunPage, write_run_page
from jaxcnn.train.history import write_atomically
from jaxcnn.train.locking import lock_folder
from jaxcnn.train.run_folder import RunReference, write_experiment

__all__ = [
    "Recipe",
    "check_config",
    "find_recipe",
    "open_experiment",
    "read_experiment",
    "run_experiment",
    "write_experiment_page",
]

REACH = 3.0
"""Largest parameter of a transform above which its sampling frame has left the image."""


@runtime_checkable
class ExperimentConfig(Protocol):
    """What every configuration has; it is a frozen dataclass of JSON values."""

    __dataclass_fields__: ClassVar[dict[str, dataclasses.Field[Any]]]

    @property
    def steps(self) -> int:
        """Training steps of each network."""
        ...

    @property
    def seeds(self) -> int:
        """Networks per arm."""
        ...

    @property
    def arms(self) -> tuple[Any, ...]:
        """The arms to train."""
        ...

    @property
    def batch(self) -> int:
        """Examples per step."""
        ...

    @property
    def evaluate_every(self) -> int:
        """Steps between evaluations."""
        ...


C = TypeVar("C", bound=ExperimentConfig)
A = TypeVar("A", bound=str)


@dataclasses.dataclass(frozen=True)
class Recipe(Generic[C, A]):
    """An experiment: arms that are trained with several seeds each, at one budget, and compared.

    Attributes:
        name: Name of its file.
        title: Title of its report.
        config: Class of its configurations.
        arms: All arms; the others are compared with the first that a run has.
        classes: Names of the classes.
        build: ``(config, arm) -> module``.
        optimizer: ``config -> Optax transformation``.
        data: ``config -> (key -> batch)``, what ``train.fit`` trains on.
        test_set: ``config -> batch``, the same for every run of a configuration.
        preprocessing: ``config ->`` what makes an input of a picture, see ``train.fit``.
        setting: ``config ->`` a sentence about the data.
        originals: ``config ->`` the number of originals where test images are versions of others: image i of original
            i modulo that number; by default None, each is an original.
    """

    name: str
    title: str
    config: Callable[..., C]
    arms: tuple[A, ...]
    classes: tuple[str, ...]
    build: Callable[[C, A], nn.Module]
    optimizer: Callable[[C], optax.GradientTransformation]
    data: Callable[[C], Callable[[PRNGKey], Batch]]
    test_set: Callable[[C], Batch]
    preprocessing: Callable[[C], dict[str, Any]]
    setting: Callable[[C], str]
    originals: Callable[[C], int | None] = lambda config: None

    def configure(self, values: Mapping[str, Any]) -> C:
        """Builds a configuration from JSON values.

        Raises:
            ValueError: If the values are not those of a configuration of this version.
        """
        try:
            return self.config(**{name: tuple(v) if isinstance(v, list) else v for name, v in values.items()})
        except TypeError:
            text = f"run: config of recipe {self.name} must hold the options of this version"
            raise ValueError(f"{text}, got {dict(values)}.") from None


def check_config(
    config: ExperimentConfig, arms: tuple[str, ...], *, counts: tuple[str, ...], rates: tuple[str, ...]
) -> None:
    """Refuses a configuration with unknown or repeated arms, counts below 1, or rates that are not positive."""
    for name in ("steps", "seeds", "batch", "evaluate_every", *counts):
        value = getattr(config, name)
        check(is_integer_at_least(value, 1), "Config", name, "a positive integer", repr(value))
    for name in rates:
        value = getattr(config, name)
        check(0 < value < float("inf"), "Config", name, "a positive number", repr(value))
    check(0 < len(config.arms) == len(set(config.arms)), "Config", "arms", "distinct", config.arms)
    for arm in config.arms:
        check_choice("Config", "arms", arm, arms)


def find_recipe(name: str) -> Recipe[Any, Any]:
    """Returns a recipe by the name of its file."""
    from jaxcnn import recipes

    known = sorted(entry.name for entry in pkgutil.iter_modules(recipes.__path__) if not entry.name.startswith("_"))
    check_choice("run", "recipe", name, known)
    return importlib.import_module(f"jaxcnn.recipes.{name}").RECIPE


def open_experiment(recipe: Recipe[C, A], config: C, folder: Path) -> train.ExperimentInfo:
    """Starts an experiment in a new or empty folder, and refuses one that holds anything."""
    taken = folder.exists() and (not folder.is_dir() or any(folder.iterdir()))
    check(not taken, "run", "folder", "new or empty (--resume continues a run)", str(folder))
    folder.mkdir(parents=True, exist_ok=True)
    runs = [RunReference(f"{arm}/seed{seed}", arm, seed) for arm in config.arms for seed in range(config.seeds)]
    write_experiment(folder, recipe=recipe.name, config=dataclasses.asdict(config), runs=runs)
    return read_experiment(folder)


def read_experiment(folder: Path) -> train.ExperimentInfo:
    """Reads what the folder of an experiment says of it, and refuses that of a single run."""
    info = train.read_run(folder)
    if not isinstance(info, train.ExperimentInfo):
        raise ValueError(f"run: folder must be that of an experiment, got {folder}, one run of train.{info.function}.")
    find_recipe(info.recipe).configure(info.config)  # refuses what no run can be made of
    return info


def run_experiment(
    info: train.ExperimentInfo, *, progress: bool = True, warn: Callable[[str], None] = print
) -> tuple[Results, Path]:
    """Trains what is not yet trained, measures, and writes metrics, results, plots and page.

    Args:
        info: The experiment, as ``open_experiment`` or ``read_experiment`` returns it; a killed run continues from its
            checkpoints.
        progress: Whether to show a progress bar per network.
        warn: Takes warnings.

    Returns:
        The results, as in ``results.json``, and the path of the page.
    """
    with lock_folder("run", info.folder):
        return _run_locked(info, progress, warn)


def _run_locked(info: train.ExperimentInfo, progress: bool, warn: Callable[[str], None]) -> tuple[Results, Path]:
    began = time.perf_counter()
    recipe = find_recipe(info.recipe)
    config = recipe.configure(info.config)
    test, data = recipe.test_set(config), recipe.data(config)
    description = {"train": {"kind": "recipe"}, "test": {"kind": "recipe", "examples": len(test["label"])}}
    of_recipe = {"recipe": {"name": recipe.name, "config": dataclasses.asdict(config)}}
    lines: list[dict[str, Any]] = []
    outcomes: dict[str, list[train.Result]] = {arm: [] for arm in config.arms}
    for network in list_networks(info):
        assert network.seed is not None
        model = recipe.build(config, network.arm)
        result = train.fit(
            jax.random.key(network.seed),
            model,
            recipe.optimizer(config),
            data,
            steps=config.steps,
            evaluate=test,
            evaluate_every=config.evaluate_every,
            run=network.folder,
            classes=recipe.classes,
            preprocessing=recipe.preprocessing(config),
            description={**description, **of_recipe},
            best=None,
            keep=2,
            checkpoint_every=max(1, config.steps // 4),
            progress=network.label if progress else None,
        )
        outcomes[network.arm].append(result)
        lines += [{"arm": network.arm, "seed": network.seed, **line} for line in result.history]
        _check_reach(model, result.variables, test, network, warn)
    write_atomically(info.folder / "metrics.jsonl", "".join(json.dumps(line) + "\n" for line in lines))
    results = summarize_experiment(info, outcomes, test_images=len(test["label"]), seconds=time.perf_counter() - began)
    write_atomically(info.folder / "results.json", json.dumps(results, indent=1) + "\n")
    return results, write_experiment_page(info)


def write_experiment_page(info: train.ExperimentInfo) -> Path:
    """Writes plots and page of a trained experiment.

    Raises:
        ValueError: If the experiment is not trained to its end.
    """
    recipe = find_recipe(info.recipe)
    config = recipe.configure(info.config)
    path = info.folder / "results.json"
    advice = f"trained to its end (jaxcnn train --resume {info.folder} continues it)"
    check(path.is_file(), "report", "run", advice, f"{info.folder} without results.json")
    results: Results = json.loads(path.read_text())
    networks = list_networks(info)
    images = LabeledImages.of(recipe.test_set(config), originals=recipe.originals(config))
    answers = {}
    for network in networks:
        model = recipe.build(config, network.arm)
        answers[network] = classify(model, train.load_variables(network.folder), images)
    spread = f"Mean and standard deviation over {config.seeds} seeds" if config.seeds > 1 else "One seed, so no spread"
    page = RunPage(
        title=recipe.title,
        summary=f"{recipe.setting(config)} {comparison_sentence(results)}",
        header=HEADER,
        rows=result_rows(results),
        note=f"{spread}; {results['test_images']:,} test images, the same for all networks.",
        configuration=info.config,
    )
    return write_run_page(info, page, networks, Evaluation(images, recipe.classes, answers))


def _check_reach(
    model: nn.Module, variables: Variables, test: Batch, network: Network, warn: Callable[[str], None]
) -> None:
    """Warns where a spatial transformer samples outside of the image, from where it learns nothing more."""
    theta = classify(model, variables, LabeledImages.of(test)).theta
    reach = 0.0 if theta is None else float(np.abs(theta).max())
    if reach > REACH:
        warn(f"{network.label}: the transform reaches {reach:.1f}; its sampling frame leaves the image.")
