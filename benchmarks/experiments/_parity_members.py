"""The networks of the families and their originals, as data for ``benchmarks.experiments.parity``."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

__all__ = ["MEMBERS", "Member"]

Size = tuple[int, int]


class Member(NamedTuple):
    """A network of the package and its original.

    Attributes:
        name: Name of the model.
        source: What the original is written in.
        build: The original: a function of ``torchvision.models`` or of ``tf_slim.nets``, or a class of
            ``keras.applications``.
        original: Its arguments.
        options: Fields of the model.
        sizes: Heights and widths to compare at.
    """

    name: str
    source: Literal["torchvision", "keras", "slim"]
    build: str
    original: Mapping[str, Any] = {}
    options: Mapping[str, Any] = {}
    sizes: Sequence[Size] = ((224, 224), (193, 161))


def _list_mobilenets() -> list[Member]:
    """Lists the MobileNets at the widths of which the sources publish weights."""
    return [
        Member("mobilenet", "keras", "MobileNet", {"alpha": alpha, "dropout": 0.0}, {"alpha": alpha, "dropout": 0.0})
        for alpha in (0.25, 0.5, 0.75, 1.0)
    ]


MEMBERS: Mapping[str, Member] = {
    f"{one.name}, alpha {one.options['alpha']}" if "alpha" in one.options else one.name: one
    for one in (*_list_mobilenets(),)
}
"""Title to what is compared."""
