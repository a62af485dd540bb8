"""Evaluates the nodes of a graph, and of the functions that it calls, in the order in which they need each other."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from jaxcnn.zoo.checkpoint import Checkpoint, FormatError
from jaxcnn.zoo.containers.source_file import PARSER_ERRORS
from jaxcnn.zoo.graphs.tensorflow import (
    arithmetic,
    control,
    convolutions,
    fused,
    inputs,
    normalization,
    parts,
    pooling,
    shapes,
)
from jaxcnn.zoo.graphs.tensorflow.context import Context
from jaxcnn.zoo.graphs.tensorflow.folding import FOLDS, LARGEST_CONSTANT, tidy
from jaxcnn.zoo.graphs.tensorflow.references import TensorReference, parse_reference
from jaxcnn.zoo.graphs.tensorflow.scopes import Scope
from jaxcnn.zoo.graphs.tensorflow.table import HANDLERS, SourceNode
from jaxcnn.zoo.graphs.tensorflow.values import DEAD, Dead, FoldedConstant, GraphValue, Result, UnsupportedNode

__all__ = ["GraphEvaluation"]

_CALL_NAME = re.compile(r"(?:Stateful)?PartitionedCall(?:_\d+)?")
_MAX_NODES = 200_000
_MAX_DEPTH = 64
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")
_BRANCHES = ("If", "StatelessIf")
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_ON_BLOCKS = (
    "Conv2D",
    "DepthwiseConv2dNative",
    "BatchToSpaceND",
    "BatchToSpace",
    "BiasAdd",
    "Add",
    "AddV2",
    "Mul",
    "Sub",
)
_ON_BLOCKS += (
    "Relu",
    "Relu6",
    "Elu",
    "LeakyRelu",
    "Identity",
    "FusedBatchNorm",
    "FusedBatchNormV2",
    "FusedBatchNormV3",
)
_SUBJECTS = (
    arithmetic,
    control,
    convolutions,
    fused,
    inputs,
    normalization,
    parts,
    pooling,
    shapes,
)  # they fill the table
_TRANSPOSED = {"OI": (1, 0), "WOI": (0, 2, 1), "HWOI": (0, 1, 3, 2), "DHWOI": (0, 1, 2, 4, 3)}


@dataclasses.dataclass(frozen=True)
class Unknown:
    """What an operation computes that is not known; it has been recorded."""


_UNKNOWN = Unknown()


class GraphEvaluation:
    """Evaluates what is asked of a TensorFlow graph.

    Args:
        ctx: Where the network is built.
        checkpoint: The content of the file.
    """

    def __init__(self, ctx: Context, checkpoint: Checkpoint):
        self.ctx, self.checkpoint = ctx, checkpoint
        metadata = checkpoint.metadata
        self.functions: Mapping[str, list[dict[str, Any]]] = metadata.get("functions", {})
        self.arguments: Mapping[str, list[str]] = metadata.get("arguments", {})
        self.returns: Mapping[str, list[tuple[str, str]]] = metadata.get("results", {})
        self.layouts: Mapping[str, str] = metadata.get("layouts", {})
        self.handles: Mapping[str, str] = metadata.get("handles", {})
        self.constants: Mapping[str, np.ndarray] = metadata.get("constants", checkpoint.tensors)
        self.folded = 0
        self.evaluated = 0
        self.depth = 0
        self._constants: dict[str, FoldedConstant] = {}

    def open(
        self,
        nodes: Sequence[dict[str, Any]],
        *,
        prefix: str = "",
        function: str = "",
        arguments: Mapping[str, Result] | None = None,
    ) -> Scope:
        """Prepares the evaluation of a graph or function."""
        if len(nodes) > _MAX_NODES:
            raise self.ctx.builder.error(f"has a graph of {len(nodes):,} nodes; at most {_MAX_NODES:,} are read.")
        scope = Scope({}, {}, prefix, function, arguments or {})
        for position, node in enumerate(nodes):
            if not _is_node(node):
                raise self.ctx.builder.error(f"has a node that is damaged: number {position}, {str(node)[:100]}.")
            name = node["name"]
            if name in scope.nodes:
                raise self.ctx.builder.error(f"has two nodes named {name!r}.")
            scope.nodes[name], scope.positions[name] = node, position
            for source in node["inputs"]:
                scope.readers.setdefault(parse_reference(source).node, []).append(name)
            if node["op"] == "Const":
                full = f"{function}/{name}" if function else name
                if full in self.constants:
                    scope.shapes[name] = self._restore(full, self.constants[full]).shape
        return scope

    def find(self, scope: Scope, reference: str) -> Result:
        """Evaluates what a reference such as ``conv1:0`` means."""
        ref = parse_reference(reference)
        if ref.node in scope.arguments and ref.node not in scope.nodes:
            return scope.arguments[ref.node]
        self._evaluate(scope, ref.node)
        return self._read(scope, ref, "an output")

    def _read(self, scope: Scope, ref: TensorReference, reader: str) -> Result:
        if ref.node not in scope.nodes:
            if ref.node in scope.arguments:
                return scope.arguments[ref.node]
            raise self.ctx.builder.error(f"has no node {ref.node!r}, which {reader} reads.")
        results = scope.results[ref.node]
        if results and isinstance(results[0], Unknown):
            return _UNKNOWN
        place = ref.place(scope.nodes[ref.node]["op"])
        if place >= len(results):
            raise self.ctx.builder.error(
                f"node {ref.node!r} has {len(results)} outputs; {reader} reads number {place}."
            )
        return results[place]

    def _evaluate(self, scope: Scope, root: str) -> None:
        """Evaluates a node and all that it needs."""
        stack, opened = [root], set()
        while stack:
            name = stack[-1]
            if name in scope.results:
                stack.pop()
                continue
            if name not in scope.nodes:
                raise self.ctx.builder.error(f"has no node {name!r}, which another one reads.")
            needed = self._list_needed(scope, name)
            missing = [one for one in needed if one not in scope.results]
            if not missing:
                stack.pop()
                scope.results[name] = self._evaluate_node(scope, scope.nodes[name])
                continue
            if name in opened:
                shown = scope.prefix + name
                raise self.ctx.builder.error(
                    f"has a cycle: node {shown!r} ({scope.nodes[name]['op']}) depends on itself."
                )
            opened.add(name)
            stack.extend(reversed(missing))

    def _list_needed(self, scope: Scope, name: str) -> list[str]:
        """Lists the nodes that a node reads; of those that it only waits for, the branches of conditions."""
        node = scope.nodes[name]
        if node["op"] in inputs.STARTING:
            return []
        result = []
        for source in node["inputs"]:
            ref = parse_reference(source)
            if ref.control:
                other = scope.nodes.get(ref.node, {})
                if not _is_pivot(scope, other):
                    continue
            if ref.node not in scope.arguments or ref.node in scope.nodes:
                result.append(ref.node)
        return result

    def _evaluate_node(self, scope: Scope, raw: dict[str, Any]) -> list[Result]:
        """Evaluates a node whose inputs are known."""
        self.evaluated += 1
        if self.evaluated > _MAX_NODES:
            raise self.ctx.builder.error(
                f"evaluates more than {_MAX_NODES:,} nodes; its functions call each other too often."
            )
        op, position = raw["op"], scope.positions[raw["name"]]
        node = SourceNode(scope.prefix + raw["name"], op, position, raw["attributes"])
        references = [parse_reference(source) for source in raw["inputs"]]
        if op in inputs.STARTING:
            read: list[Result] = []
        else:
            reader = f"node {node.name!r}"
            read = [self._read(scope, ref, reader) for ref in references if not ref.control]
            waits = [ref for ref in references if ref.control and ref.node in scope.results]
            if any(isinstance(self._read(scope, ref, reader), Dead) for ref in waits):
                return [DEAD] * 8
        try:
            results = self._apply(scope, raw, node, read)
        except UnsupportedNode as error:
            self.ctx.builder.add_unknown(f"{op} with {error}" if str(error) else op, node.name, position)
            return [_UNKNOWN]
        except FormatError:
            raise
        except (AssertionError, *PARSER_ERRORS) as error:
            reason = str(error).split("\n")[0][:300] or type(error).__name__
            raise self.ctx.builder.error(f"has an inconsistent node {node.name!r} ({op}): {reason}") from error
        for place, result in enumerate(results):
            if isinstance(result, GraphValue):
                if place == 0:
                    self.ctx.builder.tap(node.name, result.name)
                self.ctx.builder.tap(f"{node.name}:{place}", result.name)
        return results

    def _apply(self, scope: Scope, raw: dict[str, Any], node: SourceNode, read: list[Result]) -> list[Result]:
        op = node.op
        if op == "Const":
            return [self._find_constant(scope, raw["name"], node)]
        if op in _VARIABLES:
            return [self._find_variable(raw["name"], node)]
        if any(isinstance(one, Unknown) for one in read):
            if op not in HANDLERS and op not in FOLDS and op not in _CALLS and op not in _BRANCHES:
                raise UnsupportedNode
            return [_UNKNOWN]
        if op not in ("Merge", "RefMerge") and any(isinstance(one, Dead) for one in read):
            return [DEAD] * 8
        if op in _CALLS or op in self.functions:
            return self._call(raw["attributes"].get("f", "") if op in _CALLS else op, node, read)
        if op in _BRANCHES:
            taken = control.is_true(read[0])
            branch = raw["attributes"].get("then_branch" if taken else "else_branch", "")
            return self._call(branch, node, read[1:])
        if op in FOLDS and all(isinstance(one, FoldedConstant) for one in read):
            return self._fold(node, read)
        if op in inputs.STARTING:
            return [inputs.start(self.ctx, scope, node, raw)]
        if op not in HANDLERS:
            raise UnsupportedNode
        if op not in _ON_BLOCKS and any(isinstance(one, GraphValue) and one.blocks is not None for one in read):
            raise UnsupportedNode("maps between SpaceToBatch and BatchToSpace")
        results = HANDLERS[op](self.ctx, node, *read)
        return results if isinstance(results, list) else [results]

    def _fold(self, node: SourceNode, read: list[Any]) -> list[Result]:
        """Evaluates an operation on constants."""
        arrays = [one.array for one in read]
        try:
            found = FOLDS[node.op](node, *arrays)
        except (TypeError, ValueError) as error:
            if any(array.dtype == object for array in arrays):
                raise UnsupportedNode("sizes that are not known") from error
            raise
        trained = any(one.trained for one in read)
        results = [
            FoldedConstant(tidy(one), "", node.op, tuple(read), trained)
            for one in (found if isinstance(found, list) else [found])
        ]
        self.folded += sum(one.array.size for one in results)
        if self.folded > 8 * LARGEST_CONSTANT:
            raise self.ctx.builder.error("computes more constants than any real file.")
        return list(results)

    def _call(self, function: Any, node: SourceNode, read: list[Result]) -> list[Result]:
        """Evaluates a function on what its arguments are."""
        if not isinstance(function, str) or function not in self.functions:
            raise ValueError(f"it calls {str(function)[:80]!r}, which is no function of the file.")
        names = self.arguments.get(function, [])
        if len(names) != len(read):
            raise ValueError(f"it passes {len(read)} arguments to the {len(names)} of {function!r}.")
        self.depth += 1
        if self.depth > _MAX_DEPTH:
            raise self.ctx.builder.error(f"has functions that call each other more than {_MAX_DEPTH} deep.")
        scopes = node.name.split("/")
        while scopes and _CALL_NAME.fullmatch(scopes[-1]):
            scopes.pop()
        prefix = "".join(f"{part}/" for part in scopes)
        scope = self.open(
            self.functions[function],
            prefix=prefix,
            function=function,
            arguments=dict(zip(names, read, strict=True)),
        )
        results = [self.find(scope, value) for _, value in self.returns.get(function, [])]
        self.depth -= 1
        return results

    def _find_constant(self, scope: Scope, name: str, node: SourceNode) -> FoldedConstant:
        full = f"{scope.function}/{name}" if scope.function else name
        if full not in self._constants:
            if full not in self.constants:
                raise UnsupportedNode("text or numbers of an unknown dtype")
            trained = any(_reads_variable(scope.nodes[one], name) for one in scope.readers.get(name, ()))
            self._constants[full] = FoldedConstant(
                self._restore(full, self.constants[full]), node.name, trained=trained
            )
        found = self._constants[full]
        return found if found.name == node.name else dataclasses.replace(found, name=node.name)

    def _find_variable(self, name: str, node: SourceNode) -> FoldedConstant:
        tensor = self.handles.get(name, name)
        if tensor not in self.checkpoint.tensors or not self.handles:
            raise UnsupportedNode("a variable without a value")
        key = f"variable {tensor}"
        if key not in self._constants:
            array = self._restore(tensor, self.checkpoint.tensors[tensor])
            self._constants[key] = FoldedConstant(array, tensor, trained=True)
        return self._constants[key]

    def _restore(self, name: str, array: np.ndarray) -> np.ndarray:
        """Returns an array in the order of the file."""
        axes = _TRANSPOSED.get(self.layouts.get(name, ""))
        return array.transpose(axes) if axes is not None and len(axes) == array.ndim else array


def _is_node(node: Any) -> bool:
    """Tests whether a description of a node has all its parts."""
    if not isinstance(node, Mapping) or not isinstance(node.get("attributes"), Mapping):
        return False
    texts = isinstance(node.get("name"), str) and node["name"] and isinstance(node.get("op"), str)
    return bool(texts) and isinstance(node.get("inputs"), list) and all(isinstance(one, str) for one in node["inputs"])


def _is_pivot(scope: Scope, node: Mapping[str, Any]) -> bool:
    """Tests whether a node is what the nodes of a branch wait for."""
    if node.get("op") in ("Switch", "RefSwitch"):
        return True
    if node.get("op") != "Identity" or not node.get("inputs"):
        return False
    return scope.nodes.get(parse_reference(node["inputs"][0]).node, {}).get("op") in ("Switch", "RefSwitch")


def _reads_variable(node: Mapping[str, Any], name: str) -> bool:
    """Tests whether a node is what reads a variable, which is a constant in a frozen graph."""
    if node.get("op") not in ("Identity", "ReadVariableOp") or not node.get("inputs"):
        return False
    last = node["name"].rpartition("/")[2]
    return node["inputs"][0].partition(":")[0] == name and last.startswith(("read", "ReadVariableOp", "Read"))
