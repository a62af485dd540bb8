"""The options that ``fit`` and ``fit_ensemble`` have in common, checked."""

import dataclasses
import os
import re
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcnn._check import check, is_integer_at_least
from jaxcnn._typing import Variables
from jaxcnn.train.data_description import check_json
from jaxcnn.train.evaluation import TestData
from jaxcnn.train.history import LINE_FIELDS
from jaxcnn.train.optimizers import EvalParams
from jaxcnn.train.step import Augment, Loss, Metrics, default_metrics

__all__ = ["Settings"]

_WORDS = "loss|errors?|err|cross_entropy|nll|perplexity|mse|mae|rmse|brier|ece"
_LESS_IS_BETTER = re.compile(rf"(?!neg)(.*[^a-z])?({_WORDS})([^a-z].*)?", re.IGNORECASE)
"""Names of metrics of which less is better also without a minus in front, as ``"top5_error"``, not ``"neg_mse"``."""


@dataclasses.dataclass(frozen=True)
class Settings:
    """The options of ``fit`` of the same names; ``members`` is None for a single model."""

    function: str
    members: int | None
    steps: int
    evaluate: TestData | None
    evaluate_every: int | None
    evaluate_batch: int
    run: str | os.PathLike[str] | None
    classes: Sequence[str] | None
    preprocessing: Mapping[str, Any] | None
    description: Mapping[str, Any] | None
    loss: Loss
    metrics: Metrics | None
    augment: Augment | None
    frozen: Sequence[str]
    ema: float | None
    eval_params: EvalParams | None
    variables: Variables | None
    checkpoint_every: int | None
    keep: int
    best: str | None
    early_stopping: int | None
    log_every: int
    progress: str | None
    donate: bool

    def __post_init__(self) -> None:
        """Checks the options and fills in what depends on others."""
        optional = ("evaluate_every", "checkpoint_every", "early_stopping")
        given = [name for name in optional if getattr(self, name) is not None]
        for name in ("steps", "keep", "log_every", *given):
            value = getattr(self, name)
            check(is_integer_at_least(value, 1), self.function, name, "a positive integer", value)
            self._set(name, int(value))
        if self.checkpoint_every is None:
            self._set("checkpoint_every", max(1, self.steps // 10))
        if self.metrics is None:
            self._set("metrics", default_metrics(self.loss))
        if self.evaluate is None:
            self._set("best", None)
        if isinstance(self.best, str) and self.best in (self.metrics or {}) and _LESS_IS_BETTER.fullmatch(self.best):
            self._set("best", f"-{self.best}")
        self._check_metrics(self.metrics or {})
        check_json(self.function, "preprocessing", self.preprocessing)
        check_json(self.function, "description", self.description)

    def _set(self, name: str, value: object) -> None:
        object.__setattr__(self, name, value)

    def _check_metrics(self, metrics: Metrics) -> None:
        """Refuses test metrics whose names are taken, and a best metric that is not among them."""
        taken = sorted(set(metrics) & set(LINE_FIELDS))
        check(not taken, self.function, "metrics", f"named other than {', '.join(LINE_FIELDS)}", ", ".join(taken))
        if self.best is not None:
            expected = f"None or a metric among {', '.join(metrics)}, or one with a minus"
            check(isinstance(self.best, str), self.function, "best", expected, repr(self.best))
            check(self.best.removeprefix("-") in metrics, self.function, "best", expected, repr(self.best))
        possible = self.early_stopping is None or (self.best is not None and self.evaluate_every is not None)
        check(possible, self.function, "early_stopping", "used with evaluate, evaluate_every and best", "one missing")
