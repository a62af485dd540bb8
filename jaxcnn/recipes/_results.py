"""What an experiment found: numbers per arm, the comparison with the first arm, the table and the sentence."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, TypedDict

import jax
import numpy as np

from jaxcnn import train

__all__ = ["HEADER", "ArmResult", "Comparison", "Results", "comparison_sentence", "result_rows", "summarize_experiment"]

HEADER = ("network", "test error, %", "parameters", "seeds", "time, s", "compile time, s")
"""Columns of the result table."""

_STUDENT = {2: 4.30, 4: 2.78, 6: 2.45, 8: 2.31, 10: 2.23, 12: 2.18, 14: 2.14, 16: 2.12, 18: 2.10}
"""Degrees of freedom -> the value that Student's t exceeds on either side with a probability of 5 %."""


class ArmResult(TypedDict):
    """One arm: parameters of a network; test errors in percent, one per seed; seconds of all seeds together."""

    parameters: int
    errors: list[float]
    mean: float
    std: float | None
    seconds: float
    compile_seconds: float


class Comparison(TypedDict):
    """An arm against the first: difference of the mean errors in points, and in standard errors of the difference."""

    gap: float
    gap_in_standard_errors: float | None


class Results(TypedDict):
    """What ``results.json`` holds."""

    recipe: str
    device: str
    config: dict[str, Any]
    test_images: int
    arms: dict[str, ArmResult]
    comparisons: dict[str, Comparison]
    seconds: float


def summarize_experiment(
    info: train.ExperimentInfo, outcomes: Mapping[str, Sequence[train.Result]], *, test_images: int, seconds: float
) -> Results:
    """Computes the results of an experiment from those of its runs."""
    arms = {arm: _summarize_arm(results) for arm, results in outcomes.items()}
    baseline, *others = arms
    return {
        "recipe": info.recipe,
        "device": info.origin.device,
        "config": info.config,
        "test_images": test_images,
        "arms": arms,
        "comparisons": {arm: compare(arms[baseline], arms[arm]) for arm in others},
        "seconds": seconds,
    }


def compare(baseline: ArmResult, other: ArmResult) -> Comparison:
    """Compares two arms."""
    gap, n = baseline["mean"] - other["mean"], len(baseline["errors"])
    error = None
    if baseline["std"] is not None and other["std"] is not None:
        error = math.sqrt((baseline["std"] ** 2 + other["std"] ** 2) / n)
    return {"gap": gap, "gap_in_standard_errors": gap / error if error else None}


def result_rows(results: Results) -> list[tuple[str, ...]]:
    """Returns the rows of the result table, as text, under ``HEADER``."""
    rows = []
    for arm, of_arm in results["arms"].items():
        error, seeds = format_spread(of_arm["mean"], of_arm["std"]), str(len(of_arm["errors"]))
        times = f"{of_arm['seconds']:.0f}", f"{of_arm['compile_seconds']:.0f}"
        rows.append((arm, error, f"{of_arm['parameters']:,}", seeds, *times))
    return rows


def comparison_sentence(results: Results) -> str:
    """Returns a sentence about the comparison, with its budget.

    A difference counts if it is larger than twice its standard error (with few seeds, than the quantile of Student's
    distribution that leaves out 5 % on both sides). The standard error is the larger of two: of the spread between
    seeds, and of drawing other test images.
    """
    config, (baseline, *others) = results["config"], results["arms"].items()
    budget = f"{config['steps']:,} steps of {config['batch']} images"
    if not others:
        return f"Trained for {budget}."
    seeds = len(baseline[1]["errors"])
    basis = f"mean of {seeds} seeds" if seeds > 1 else "one seed"
    changes = ", ".join(_describe_change(baseline, other, results["test_images"]) for other in others)
    return f"Test error {changes} ({basis}), at the same budget of {budget} each; no network is trained to convergence."


def _describe_change(baseline: tuple[str, ArmResult], other: tuple[str, ArmResult], images: int) -> str:
    before, after = (f"{arm['mean']:.1f} % for {name}" for name, arm in (baseline, other))
    if _is_within_chance(baseline[1], other[1], images):
        return f"is {before} and {after}, a difference that chance explains"
    verb = "falls" if other[1]["mean"] < baseline[1]["mean"] else "rises"
    return f"{verb} from {before} to {after}"


def _is_within_chance(baseline: ArmResult, other: ArmResult, images: int) -> bool:
    """Returns whether two arms differ by no more than chance explains, as ``comparison_sentence`` describes."""
    shares = [arm["mean"] / 100 for arm in (baseline, other)]
    error, quantile = 100 * math.sqrt(sum(share * (1 - share) for share in shares) / images), 2.0
    if baseline["std"] is not None and other["std"] is not None:
        seeds = len(baseline["errors"])
        error = max(error, math.sqrt((baseline["std"] ** 2 + other["std"] ** 2) / seeds))
        quantile = _STUDENT.get(2 * (seeds - 1), quantile)
    return abs(other["mean"] - baseline["mean"]) <= quantile * error


def format_spread(mean: float, std: float | None) -> str:
    """Formats a mean with its standard deviation, where one is known."""
    return f"{mean:.2f}" if std is None else f"{mean:.2f} ± {std:.2f}"


def _summarize_arm(results: Sequence[train.Result]) -> ArmResult:
    errors = [100 * (1 - result.evaluation["accuracy"]) for result in results]
    return {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(results[0].state.params)),
        "errors": errors,
        "mean": float(np.mean(errors)),
        "std": float(np.std(errors, ddof=1)) if len(errors) > 1 else None,
        "seconds": sum(result.seconds for result in results),
        "compile_seconds": sum(result.compile_seconds for result in results),
    }
