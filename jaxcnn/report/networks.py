"""The trained networks of a run folder, and what they answer to labelled images."""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import numpy as np

from jaxcnn import losses, metrics, train
from jaxcnn._typing import Float, Int, Num, PyTree, Variables
from jaxcnn.layers import SpatialTransformer
from jaxcnn.train.step import train_flag

__all__ = ["Answers", "LabeledImages", "Network", "classify", "list_networks", "measure"]

CHUNK = 360
"""Images that are classified at once."""


@dataclasses.dataclass(frozen=True)
class Network:
    """One trained network of a run folder.

    Attributes:
        folder: The run folder that holds its checkpoints.
        arm: Of an experiment its arm, else what the model is.
        seed: Its seed in an experiment.
        member: Its number in an ensemble.
    """

    folder: Path
    arm: str
    seed: int | None = None
    member: int | None = None

    @property
    def label(self) -> str:
        """The network in words."""
        numbers = {"seed": self.seed, "member": self.member}
        return " ".join([self.arm, *(f"{name} {value}" for name, value in numbers.items() if value is not None)])

    @property
    def trained(self) -> bool:
        """Whether there is a checkpoint of it."""
        return any(entry.name.isdigit() for entry in self.folder.glob("checkpoints/*"))

    def history(self) -> list[dict[str, Any]]:
        """Reads the lines of metrics."""
        lines = train.read_history(self.folder)
        return [line for line in lines if self.member is None or line["member"] == self.member]


class LabeledImages(NamedTuple):
    """Images to test with, read when asked for.

    Attributes:
        labels: Class numbers.
        read: Indices -> inputs of the network (k, h, w, c).
        originals: Number of the original that each image was made of, where images are versions of others.
    """

    labels: Int[np.ndarray, " n"]
    read: Callable[[np.ndarray], Num[np.ndarray, "k h w c"]]
    originals: Int[np.ndarray, " n"] | None = None

    @staticmethod
    def of(batch: Mapping[str, Any], *, originals: int | None = None) -> "LabeledImages":
        """Wraps arrays in memory; of so many originals, repeated in order, where images are versions of others."""
        images, labels = np.asarray(batch["image"]), np.asarray(batch["label"])
        numbers = None if originals is None else np.arange(len(labels)) % originals
        return LabeledImages(labels, lambda indices: images[indices], numbers)


class Answers(NamedTuple):
    """What a network answers to n images.

    Attributes:
        logits: One per class.
        frame: Corners of the sampling frame of a spatial transformer that reads the image, or None without one.
        seen: What that transformer passes on, or None.
        theta: Its parameters, or None.
    """

    logits: Float[np.ndarray, "n classes"]
    frame: Float[np.ndarray, "n 4 2"] | None
    seen: Float[np.ndarray, "n h w c"] | None
    theta: Float[np.ndarray, "n ..."] | None

    @property
    def probabilities(self) -> Float[np.ndarray, "n classes"]:
        """Softmax of the logits."""
        return np.asarray(jax.nn.softmax(self.logits))


def list_networks(info: train.RunInfo | train.ExperimentInfo) -> list[Network]:
    """Lists the networks of a run, trained or not, in the order of their training."""
    if isinstance(info, train.ExperimentInfo):
        return [Network(info.folder / run.path, run.arm, run.seed) for run in info.runs]
    name = str(info.model.get("name") or info.model.get("class", "model").rpartition(":")[2])
    if info.members is None:
        return [Network(info.folder, name)]
    return [Network(info.folder, name, member=i) for i in range(info.members)]


def classify(model: nn.Module, variables: Variables, images: LabeledImages) -> Answers:
    """Runs a model over images, in chunks of one size."""
    n = len(images.labels)
    size, apply = min(n, CHUNK), _jitted(model)
    parts = []
    for start in range(0, n, size):
        indices = np.minimum(np.arange(start, start + size), n - 1)  # the last chunk repeats the last image
        parts.append(jax.device_get(apply(dict(variables), images.read(indices))))
    joined = {name: np.concatenate([part[name] for part in parts])[:n] for name in parts[0]}
    return Answers(joined["logits"], joined.get("frame"), joined.get("seen"), joined.get("theta"))


def measure(answers: Answers, labels: Int[np.ndarray, " n"]) -> dict[str, float]:
    """Computes the test metrics of a network: error and top-5 error in percent, cross-entropy."""
    logits = np.asarray(answers.logits, np.float32)

    def mean(values: jax.Array) -> float:
        return float(np.mean(np.asarray(values, np.float64)))

    found = {
        "error": 100 * (1 - mean(metrics.accuracy(logits, labels))),
        "loss": mean(losses.cross_entropy(logits, labels)),
    }
    if logits.shape[1] > 10:
        found["top-5 error"] = 100 * (1 - mean(metrics.top_k_accuracy(logits, labels, k=5)))
    return found


def _jitted(model: nn.Module) -> Callable[[Variables, np.ndarray], dict[str, Any]]:
    """Returns the jitted model; equal models share one compilation where they can be hashed."""
    try:
        hash(model)
    except TypeError:
        return jax.jit(functools.partial(_apply, model))
    return functools.partial(_apply_static, model)


def _apply(model: nn.Module, variables: Variables, x: jax.Array) -> dict[str, jax.Array]:
    """Computes logits, and what the outermost spatial transformer sows where it reads the image itself."""

    def captured(module: nn.Module, method: str) -> bool:
        return isinstance(module, SpatialTransformer) and method == "__call__"

    result: Any = model.apply(
        variables, x, mutable="intermediates", capture_intermediates=captured, **train_flag(model, False)
    )
    logits, kept = result
    parts = {"logits": logits}
    sown = _find_transformer(kept.get("intermediates", {}))
    if sown is not None and sown["__call__"][0].shape[-1] == x.shape[-1]:
        parts |= {"theta": sown["theta"][0], "frame": sown["frame"][0], "seen": sown["__call__"][0]}
    return parts


_apply_static = jax.jit(_apply, static_argnums=0)


def _find_transformer(tree: PyTree) -> Mapping[str, Sequence[jax.Array]] | None:
    """Finds the first part of a tree of intermediates that a spatial transformer has sown."""
    if not isinstance(tree, Mapping):
        return None
    if {"theta", "frame", "__call__"} <= tree.keys():
        return tree
    return next((found for part in tree.values() if (found := _find_transformer(part)) is not None), None)
