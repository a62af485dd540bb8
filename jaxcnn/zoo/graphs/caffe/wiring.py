"""Which layers of a network of Caffe run, and which of its blobs each of them reads and writes."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from jaxcnn._suggest import suggest
from jaxcnn.zoo.graphs.builder import GraphBuilder

__all__ = ["MAX_LAYERS", "Top", "WiredLayer", "choose_layers", "describe_layer", "wire_layers"]

MAX_LAYERS = 20_000
"""Layers of a network; the deepest published ones have a few thousand."""


@dataclasses.dataclass(eq=False)
class Top:
    """What one layer writes: a blob, until another layer writes it in place.

    Attributes:
        blob: Name of the blob.
        layer: The layer that writes it.
        value: Name of the graph's value.
        readers: The layers that read it.
    """

    blob: str
    layer: "WiredLayer"
    value: str = ""
    readers: list["WiredLayer"] = dataclasses.field(default_factory=list)


@dataclasses.dataclass(eq=False)
class WiredLayer:
    """A layer and what it reads and writes.

    Attributes:
        position: Its place in the file.
        name: Its name.
        kind: Its type; a number where the type of an old file is unknown.
        fields: What the file says of it.
        bottoms: What it reads.
        tops: What it writes.
        node: Name of the graph's node.
    """

    position: int
    name: str
    kind: str
    fields: Mapping[str, Any]
    bottoms: list[Top] = dataclasses.field(default_factory=list)
    tops: list[Top] = dataclasses.field(default_factory=list)
    node: str = ""

    def is_in_place(self, top: Top) -> bool:
        """Returns whether a top replaces a blob that the layer reads."""
        return any(top.blob == bottom.blob for bottom in self.bottoms)


def describe_layer(name: str, kind: str) -> str:
    """Names a layer in messages."""
    return f"layer {name!r:.80} ({kind})"


def choose_layers(net: Mapping[str, Any], builder: GraphBuilder, *, phase: str) -> list[tuple[int, Mapping[str, Any]]]:
    """Chooses the layers that run in a phase, by their rules.

    Args:
        net: The description.
        builder: Builds errors.
        phase: ``"TEST"`` or ``"TRAIN"``.

    Returns:
        Position and layer.
    """
    layers = net.get("layers")
    if isinstance(layers, list | tuple) and len(layers) > MAX_LAYERS:
        raise builder.error(f"describes {len(layers):,} layers; a network may have {MAX_LAYERS:,}.")
    if not isinstance(layers, list | tuple) or not all(isinstance(layer, Mapping) for layer in layers):
        raise builder.error("describes no list of layers.")
    numbered = list(enumerate(layers))
    if any("phase" in layer for layer in layers):
        return numbered  # what a running net wrote, which has applied the rules
    rules = [rule for _, layer in numbered for key in ("include", "exclude") for rule in _rules(layer, key)]
    stated = net.get("state")
    state: Mapping[str, Any] = stated if isinstance(stated, Mapping) else {}
    stages = {one for one in _texts(state.get("stage"))}
    if any("deploy" in _texts(rule.get(key)) for rule in rules for key in ("stage", "not_stage")):
        stages = {*stages, "deploy"}  # one file for training and use, as DIGITS writes it
    level = state.get("level", 0)
    level = level if isinstance(level, int) else 0
    chosen = [one for one in numbered if _runs(one[1], phase, level, stages)]
    written = {name for _, layer in chosen for name in _texts(layer.get("top"))} | set(_texts(net.get("input")))
    missing = {name for _, layer in chosen for name in _texts(layer.get("bottom"))} - written
    for position, layer in numbered:  # data that only training reads
        tops = set(_texts(layer.get("top")))
        if missing & tops and not layer.get("bottom") and not tops & written:
            chosen.append((position, layer))
            written |= tops
    return sorted(chosen, key=lambda one: one[0])


def _runs(layer: Mapping[str, Any], phase: str, level: int, stages: set[str]) -> bool:
    include, exclude = _rules(layer, "include"), _rules(layer, "exclude")
    if include:
        return any(_meets(rule, phase, level, stages) for rule in include)
    return not any(_meets(rule, phase, level, stages) for rule in exclude)


def _meets(rule: Mapping[str, Any], phase: str, level: int, stages: set[str]) -> bool:
    """Tests a rule as ``Net::StateMeetsRule`` does."""
    low, high = rule.get("min_level", level), rule.get("max_level", level)
    if rule.get("phase", phase) not in (phase, ("TRAIN", "TEST").index(phase)):
        return False
    if isinstance(low, int) and isinstance(high, int) and not low <= level <= high:
        return False
    return stages.issuperset(_texts(rule.get("stage"))) and stages.isdisjoint(_texts(rule.get("not_stage")))


def _rules(layer: Mapping[str, Any], key: str) -> list[Mapping[str, Any]]:
    found = layer.get(key)
    return [rule for rule in (found if isinstance(found, list | tuple) else [found]) if isinstance(rule, Mapping)]


def _texts(value: object) -> list[str]:
    return [one for one in (value if isinstance(value, list | tuple) else [value]) if isinstance(one, str)]


def wire_layers(
    chosen: Iterable[tuple[int, Mapping[str, Any]]], inputs: Sequence[str], builder: GraphBuilder
) -> tuple[list[Top], list[WiredLayer]]:
    """Resolves which layer's blob each layer reads, in the order of the file.

    Args:
        chosen: Position and layer.
        inputs: Blobs that the network declares as its inputs.
        builder: Builds errors.

    Returns:
        The declared inputs, and the layers.

    Raises:
        FormatError: If a blob is read before it is written, written twice, or names are no texts.
    """
    blobs: dict[str, Top] = {}
    declared: list[Top] = []
    for name in inputs:
        if name in blobs:
            raise builder.error(f"declares the input {name!r:.80} twice.")
        blobs[name] = Top(name, WiredLayer(-1, name, "Input", {}))
        blobs[name].layer.tops.append(blobs[name])
        declared.append(blobs[name])
    layers = []
    for position, fields in chosen:
        layer = _read_layer(position, fields, builder)
        read, written = (_names(layer, fields.get(key), key, builder) for key in ("bottom", "top"))
        for name in read:
            if name not in blobs:
                where = describe_layer(layer.name, layer.kind)
                raise builder.error(
                    f"{where}: it reads the blob {name!r:.80}, which no layer before it writes{suggest(name, blobs)}."
                )
            layer.bottoms.append(blobs[name])
            blobs[name].readers.append(layer)
        for name in written:
            if name in blobs and name not in read:
                where, other = describe_layer(layer.name, layer.kind), blobs[name].layer
                raise builder.error(
                    f"{where}: it writes the blob {name!r:.80}, which {describe_layer(other.name, other.kind)} writes."
                )
            layer.tops.append(Top(name, layer))
        if len(set(written)) < len(written):
            raise builder.error(f"{describe_layer(layer.name, layer.kind)}: it writes a blob twice.")
        blobs.update({top.blob: top for top in layer.tops})
        layers.append(layer)
    return declared, layers


def _read_layer(position: int, fields: Mapping[str, Any], builder: GraphBuilder) -> WiredLayer:
    name, kind = fields.get("name", ""), fields.get("type", "")
    if not isinstance(name, str) or not isinstance(kind, str | int) or kind == "":
        raise builder.error(f"layer {position} must have a name and a type, got {name!r:.60} and {kind!r:.60}.")
    tops = fields.get("top")
    if not name and isinstance(tops, list | tuple) and tops and isinstance(tops[0], str):
        name = tops[0]  # Caffe does not ask for names
    return WiredLayer(position, name or f"layer{position}", str(kind), fields)


def _names(layer: WiredLayer, value: object, key: str, builder: GraphBuilder) -> list[str]:
    names = value if isinstance(value, list | tuple) else [] if value is None else [value]
    found = [name for name in names if isinstance(name, str)]
    if len(found) < len(names):
        raise builder.error(f"{describe_layer(layer.name, layer.kind)}: its {key} must be names, got {value!r:.60}.")
    return found
