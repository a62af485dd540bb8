"""What loading a network returns: module, variables, and what its source says of inputs and outputs."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
import numpy as np

from jaxcnn._representation import summary_html
from jaxcnn._typing import AnyArray, Float, Num, PRNGKey, Variables
from jaxcnn.graphs.heads import Activation
from jaxcnn.graphs.network import GraphNetwork
from jaxcnn.zoo.head_replacement import replace_classifier
from jaxcnn.zoo.preprocessing import preprocess_image
from jaxcnn.zoo.records.weight_records import Preprocessing

__all__ = ["Pretrained"]


@dataclasses.dataclass(frozen=True)
class Pretrained:
    """A network with its weights, and what its source says of its inputs and outputs.

    Attributes:
        model: The Linen module.
        variables: Its variables.
        preprocessing: How an image becomes the input; None where it is not known.
        mean_image: An image (h, w, c) that is subtracted from the input, in its units; None if there is none.
        labels: Names of the classes in the order of the output; None where they are not known.
        activation: What the last output is: ``"logits"``, ``"probabilities"``, ``"features"``, or ``"values"`` of
            another meaning.
        input_shape: Height, width and channels of the input, as far as they are known.
        reader: What makes an input of an image where ``preprocessing`` cannot say it all, as of a run folder.
        provenance: File, format, and notes on what was left out or changed.
    """

    model: nn.Module
    variables: Variables
    preprocessing: Preprocessing | None = None
    mean_image: np.ndarray | None = None
    labels: tuple[str, ...] | None = None
    activation: Activation = "values"
    input_shape: tuple[int | None, int | None, int | None] = (None, None, None)
    reader: Callable[[np.ndarray], np.ndarray] | None = None
    provenance: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def preprocess(self, image: Num[AnyArray, "*shape"]) -> Float[np.ndarray, "h w c"]:
        """Makes an input of the model of one image.

        Args:
            image: An image (h, w, 3) or (h, w, 1), uint8 in [0, 255] or floating in [0, 1], RGB.

        Returns:
            The input, float32, without a batch axis.

        Raises:
            ValueError: If it is not an image, or the source does not state what the network expects.
        """
        image = np.asarray(image)
        if self.reader is not None:
            return self.reader(image)
        expected = self.preprocessing
        if expected is None:
            raise ValueError(
                "preprocess: preprocessing must be known to make an input of an image, and the source does not state "
                "it; set it by dataclasses.replace(pretrained, preprocessing=zoo.Preprocessing(...))."
            )
        return preprocess_image(image, expected, shape=self.input_shape, mean_image=self.mean_image)

    def with_head(self, key: PRNGKey, num_classes: int | None) -> "Pretrained":
        """Replaces the classifier by a new one, or removes it.

        The new layer is a dense one on the features, averaged over the pixels where they are maps; its kernel is
        random, its bias zero. A model of ``models.create`` is built again for the new number of classes.

        Args:
            key: A key.
            num_classes: Number of classes; None returns the features.

        Returns:
            The network with the new head, whose activation is ``"logits"`` or ``"features"``.

        Raises:
            ValueError: If the network does not end in a classifier.
        """
        model, variables = replace_classifier(
            self.model, self.variables, key, num_classes, input_shape=self.input_shape
        )
        activation: Activation = "features" if num_classes is None else "logits"
        return dataclasses.replace(self, model=model, variables=variables, labels=None, activation=activation)

    def _repr_html_(self) -> str:
        """Builds a table for notebooks."""
        count = sum(leaf.size for leaf in jax.tree.leaves(self.variables))
        shape = ", ".join("any" if size is None else str(size) for size in self.input_shape)
        rows: list[tuple[str, object]] = [("model", type(self.model).__name__), ("values", f"{count:,}")]
        rows += [("input", f"({shape})"), ("activation", self.activation)]
        if isinstance(self.model, GraphNetwork):
            rows += [
                ("nodes", f"{len(self.model.graph.nodes):,}"),
                ("outputs", ", ".join(self.model.selected().outputs)),
            ]
        if self.labels is not None:
            rows.append(("labels", f"{len(self.labels):,}: {', '.join(self.labels[:3])}, ..."))
        if self.preprocessing is not None:
            known = dataclasses.asdict(self.preprocessing).items()
            rows.append(("preprocessing", ", ".join(f"{key} {value}" for key, value in known if value is not None)))
        rows += [(key, value) for key, value in self.provenance.items() if key != "notes" and value is not None]
        rows += [("note", note) for note in self.provenance.get("notes", ())]
        return summary_html("Pretrained", [("", ""), *rows])

    def __repr__(self) -> str:
        """Describes it in one line."""
        count = sum(leaf.size for leaf in jax.tree.leaves(self.variables))
        name = self.provenance.get("name") or self.provenance.get("path")
        classes = f", {len(self.labels):,} labels" if self.labels else ""
        return f"Pretrained({name!r}, {type(self.model).__name__}, {count:,} values, {self.activation}{classes})"
