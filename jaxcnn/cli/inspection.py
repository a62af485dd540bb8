"""The command ``jaxcnn inspect``."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated

from jaxcnn import graphs, report, zoo
from jaxcnn.cli.options import CommandOptions, option, positional
from jaxcnn.cli.output import UNLIMITED, find_width, write, write_table
from jaxcnn.cli.paths import check_output
from jaxcnn.graphs import Graph, GraphError, NodeCost
from jaxcnn.zoo.loading import describes_network, import_network
from jaxcnn.zoo.reading import locate
from jaxcnn.zoo.records import weight_records
from jaxcnn.zoo.summary import summarize

__all__ = ["Inspect", "run_inspect"]

NARROWEST = 16
"""Characters of the first column, at least; longer names take several lines on a terminal."""

USUAL_SIZE = 224
"""Pixels of the sides of an input that neither the file nor the user states."""


@dataclasses.dataclass(frozen=True)
class Inspect(CommandOptions):
    """Show the contents of a weight file of PyTorch, Keras, TensorFlow, Caffe, MatConvNet, NumPy or safetensors.

    Where the file describes its network, that is shown as a table: layer, operation, shape of its output for one
    example, parameters, floating-point operations.
    """

    file: Annotated[str, positional("FILE")]
    """The file; of TensorFlow also a folder, or the common prefix of a checkpoint's files."""
    tensors: int = 20
    """How many tensors to list."""
    graph: Annotated[str | None, option("FILE", "the file of the same stem beside the weights")] = None
    """Of Caffe: the prototxt of the network."""
    size: Annotated[int | None, option("PIXELS", "what file or record state, else 224")] = None
    """Height and width of the input, where the network leaves them open."""
    plot: Annotated[str | None, option("FILE", "none")] = None
    """Draw the network to this file, ending in .svg."""


def run_inspect(command: Inspect) -> None:
    """Prints the contents of a weight file, and the network that it describes."""
    if command.plot is not None:
        if Path(command.plot).suffix.lower() != ".svg":
            raise ValueError(f"inspect: --plot must be a file that ends in .svg, got {command.plot!r}.")
        check_output("inspect", "--plot", command.plot)
    if command.size is not None and command.size < 1:
        raise ValueError(f"inspect: --size must be a positive integer, got {command.size}.")
    checkpoint = zoo.read(command.file)
    location = locate(command.file, download=False)
    lines = summarize(checkpoint, tensors=command.tensors)
    if not describes_network(checkpoint):
        if command.plot is not None:
            raise ValueError(f"inspect: --plot must be left out, as {command.file!r} describes no network.")
        write("\n".join(lines))
        return
    try:
        network = import_network(location, checkpoint, graph=command.graph)
        inputs = _find_inputs(network.graph, command, network.preprocessing)
        costs = graphs.measure_cost(network.graph, inputs=inputs)
    except (zoo.FormatError, GraphError) as error:
        if command.plot is not None:
            raise
        reason = " ".join(str(error).removeprefix(f"{location}: ").split())
        write("\n".join([*lines, f"network    cannot run: {reason}"]))
        return
    write("\n".join([*lines, *(f"note       {note}" for note in network.notes)]))
    _write_network(network.graph, inputs, costs)
    if command.plot is not None:
        Path(command.plot).write_text(report.network_svg(network.graph, inputs=inputs), encoding="utf-8")
        write(f"Drawing: {command.plot}")


def _find_inputs(graph: Graph, command: Inspect, preprocessing: zoo.Preprocessing | None) -> dict[str, tuple[int, ...]]:
    """Fills in the sizes that the inputs leave open."""
    record = weight_records.find(command.file)
    known = record.preprocessing if record is not None and record.preprocessing is not None else preprocessing
    size = command.size or (known.size if known is not None else None) or USUAL_SIZE
    return {one.name: tuple(size if n is None else n for n in one.shape) for one in graph.inputs}


def _write_network(graph: Graph, inputs: Mapping[str, tuple[int, ...]], costs: Sequence[NodeCost]) -> None:
    """Prints the table of layers, and its sums."""
    write()
    for one in graph.inputs:
        assumed = ", of which the network leaves sizes open" if None in one.shape else ""
        write(f"input      {one.name} {inputs[one.name]}{assumed}")
    write(f"outputs    {', '.join(graph.outputs)}")
    parameters, flops = sum(cost.parameters for cost in costs), sum(cost.flops for cost in costs)
    write(
        f"network    {len(costs):,} operations, {parameters:,} values, {flops / 1e6:,.2f} million operations an image"
    )
    write()
    rows = [_describe_layer(cost) for cost in costs]
    header = ("layer", "operation", "source", "output", "values", "MFLOP")
    write_table(header, _wrap_names(rows, header, find_width(UNLIMITED)))


def _describe_layer(cost: NodeCost) -> tuple[str, ...]:
    node = cost.node
    shapes = ", ".join("x".join(map(str, shape)) or "1" for shape in cost.shapes[:2])
    more = f", {len(cost.shapes) - 2} more" if len(cost.shapes) > 2 else ""
    values = f"{cost.parameters:,}" if cost.parameters else ""
    flops = f"{cost.flops / 1e6:,.2f}" if cost.flops else ""
    return (_printable(node.name), node.op, _printable(node.source), shapes + more, values, flops)


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def _wrap_names(rows: Sequence[tuple[str, ...]], header: Sequence[str], width: int) -> list[tuple[str, ...]]:
    """Cuts names into lines where the table is wider than the terminal: the first column's, then the third's."""
    columns = list(zip(header, *rows, strict=True))
    widths = [max(map(len, column)) for column in columns]
    room = dict(enumerate(widths))
    excess = 1 + sum(widths) + 2 * (len(widths) - 1) - width
    for column in (0, 2, 1):
        if excess > 0:
            room[column] = max(min(widths[column], NARROWEST), widths[column] - excess)
            excess -= widths[column] - room[column]
    wrapped = []
    for row in rows:
        lines = [_cut(cell, room[i]) for i, cell in enumerate(row)]
        for at in range(max(map(len, lines))):
            wrapped.append(tuple(part[at] if at < len(part) else "" for part in lines))
    return wrapped


def _cut(text: str, most: int) -> list[str]:
    """Cuts a name into lines, if possible behind a slash, a point or an underscore."""
    parts = []
    while len(text) > most:
        at = max(text.rfind(mark, 0, most) for mark in "/._ ") + 1
        at = at if at > most // 2 else most
        parts.append(text[:at])
        text = text[at:]
    return [*parts, text]
