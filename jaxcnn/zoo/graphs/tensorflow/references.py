"""References of TensorFlow's nodes to each other."""

import dataclasses
import functools

__all__ = ["TensorReference", "parse_reference"]

_OUTPUTS = {
    "Switch": ("output_false", "output_true"),
    "Merge": ("output", "value_index"),
    "TopKV2": ("values", "indices"),
    "MaxPoolWithArgmax": ("output", "argmax"),
    **dict.fromkeys(
        ("FusedBatchNorm", "FusedBatchNormV2", "FusedBatchNormV3"),
        ("y", "batch_mean", "batch_variance", "reserve_space_1", "reserve_space_2", "reserve_space_3"),
    ),
}


@dataclasses.dataclass(frozen=True)
class TensorReference:
    """What an input of a node means.

    Attributes:
        node: The name of the node, or of an argument of the function.
        output: Within functions the name of the node's output.
        index: Number of the output, within functions of those of one name.
        control: Whether the node is only waited for.
    """

    node: str
    output: str = ""
    index: int = 0
    control: bool = False

    def place(self, op: str) -> int:
        """Returns the number of the output among all of the node, whose operation is given."""
        names = _OUTPUTS.get(op, ())
        return names.index(self.output) + self.index if self.output in names else self.index


@functools.lru_cache(1 << 16)
def parse_reference(text: str) -> TensorReference:
    """Parses ``node``, ``node:1``, ``^node``, and within functions ``node:output:1``.

    Args:
        text: The reference.

    Returns:
        Its parts.

    Example:
        >>> from jaxcnn.zoo.graphs.tensorflow.references import parse_reference
        >>> parse_reference("bn/FusedBatchNormV3:batch_mean:0").place("FusedBatchNormV3")
        1
    """
    if text.startswith("^"):
        return TensorReference(text[1:], control=True)
    node, *rest = text.split(":")
    index = int(rest[-1]) if rest and rest[-1].isdecimal() and len(rest[-1]) < 9 else 0
    return TensorReference(node, rest[0] if len(rest) == 2 else "", index)
