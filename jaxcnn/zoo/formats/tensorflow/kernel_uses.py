"""How the operations of a TensorFlow graph use its constants and variables: transposed products and convolutions."""

import re
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

__all__ = ["GraphUses", "move_transposed", "read_attributes", "read_function_name"]

_PASSING = {"Identity", "ReadVariableOp", "Cast", "ExpandDims", "Enter", "Dequantize", "FakeQuantWithMinMaxArgs"}
_PASSING |= {"FakeQuantWithMinMaxVars", "FakeQuantWithMinMaxVarsPerChannel"}
_CALLS = {"PartitionedCall", "StatefulPartitionedCall"}
_VARIABLES = ("VarHandleOp", "VariableV2", "Variable")
_TRANSPOSING = {"Conv2DBackpropInput", "Conv2DBackpropInputV2", "Conv3DBackpropInput", "Conv3DBackpropInputV2"}
_ORDINARY = {"Conv2D", "Conv3D", "Conv", "DepthwiseConv2dNative", "FusedConv2D", "_FusedConv2D"}
_MAX_PASSED = 32  # nodes between a constant and its use; a cycle must end
_MAX_DEPTH = 64  # of functions that call functions
_LAYOUTS = {3: "WOI", 4: "HWOI", 5: "DHWOI"}
_KERNEL = re.compile(r"(?:.*/)?(?:kernel|weights|weight|w|W|filter|filters)(?::0)?")
_BIASES = ("bias", "biases", "b", "B")
_TRANSPOSED_NAME = re.compile(r"transpose|deconv", re.IGNORECASE)
_NOTE = "Kernels of transposed convolutions: (kh, kw, out, in) became (kh, kw, in, out); see the layouts."


def read_attributes(node: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Returns the attributes of a node by their names."""
    return {entry.get("key", ""): entry.get("value", {}) for entry in node.get("attributes", [])}


def read_function_name(function: Mapping[str, Any]) -> str:
    """Returns the name of a function of the library."""
    return function.get("signature", {}).get("name", "")


class GraphUses:
    """The uses of every value of a graph and of its functions, followed through calls.

    Args:
        graph: The message of the graph.
    """

    def __init__(self, graph: Mapping[str, Any]):
        functions = graph.get("library", {}).get("functions", [])
        self.functions = {read_function_name(function): function for function in functions}
        self._uses: dict[str, dict[str, set[tuple[str, int]]]] = {}
        self._nodes = graph.get("nodes", [])
        self._depth = 0

    def uses(self, scope: str = "") -> dict[str, set[tuple[str, int]]]:
        """Returns name of a node, or of an argument of a function, to its uses: operation and number of the input.

        A product that transposes its second input is named ``"MatMul^T"``. Nodes that pass a value on are skipped.

        Args:
            scope: The name of a function, or nothing for the graph itself.
        """
        if scope not in self._uses:
            if self._depth > _MAX_DEPTH:
                return {}
            self._uses[scope] = {}  # a function that calls itself adds nothing
            self._depth += 1
            self._uses[scope] = self._find_uses(self.functions[scope].get("nodes", []) if scope else self._nodes)
            self._depth -= 1
        return self._uses[scope]

    def _find_uses(self, nodes: Iterable[dict[str, Any]]) -> dict[str, set[tuple[str, int]]]:
        origin = {
            node.get("name"): node["inputs"][0] for node in nodes if node.get("op") in _PASSING and node.get("inputs")
        }
        found: dict[str, set[tuple[str, int]]] = {}
        for node in nodes:
            operation = node.get("op", "")
            if operation in _PASSING:
                continue
            attributes = read_attributes(node)
            if operation == "MatMul" and attributes.get("transpose_b", {}).get("b", False):
                operation = "MatMul^T"
            inside = attributes.get("f", {}).get("func", {}).get("name", "") if operation in _CALLS else operation
            function = self.functions.get(inside)
            arguments = function.get("signature", {}).get("arguments", []) if function else []
            for place, source in enumerate(node.get("inputs", [])):
                name = _node_name(source)
                for _ in range(_MAX_PASSED):
                    if name not in origin:
                        break
                    name = _node_name(origin[name])
                uses = found.setdefault(name, set())
                if source.startswith("^"):
                    uses.add(("", place))
                elif place < len(arguments):
                    uses |= self.uses(inside).get(arguments[place].get("name", ""), set())
                else:
                    uses.add((operation, place))
        return found

    def transposed_matrices(self, scope: str = "") -> set[str]:
        """Returns the names that are used only by products that transpose them."""
        return {name for name, uses in self.uses(scope).items() if uses == {("MatMul^T", 1)}}

    def transposed_kernels(self, scope: str = "") -> dict[str, bool]:
        """Returns the names that convolutions use as kernels, and whether all of those are transposed ones."""
        found = {}
        for name, uses in self.uses(scope).items():
            transposed = any(operation in _TRANSPOSING and place == 1 for operation, place in uses)
            ordinary = any(operation in _ORDINARY and place == 1 for operation, place in uses)
            if transposed or ordinary:
                found[name] = transposed and not ordinary
        return found

    def transposed_variables(self) -> dict[str, bool]:
        """Returns the same of variables, by their own names and by those of their nodes."""
        kernels = self.transposed_kernels()
        found = {}
        for node in self._nodes:
            name = node.get("name", "")
            if node.get("op") in _VARIABLES and name in kernels:
                shared = bytes(read_attributes(node).get("shared_name", {}).get("s", b"")).decode("utf-8", "replace")
                found |= {key: kernels[name] for key in (name, shared) if key}
        return found


def move_transposed(
    tensors: dict[str, np.ndarray], layouts: dict[str, str], stated: Mapping[str, bool], *, guess: bool
) -> list[str]:
    """Moves the axes of the kernels of transposed convolutions, from (kh, kw, out, in) to (kh, kw, in, out).

    Args:
        tensors: Name to array; changed.
        layouts: Name to order of axes in the file; changed.
        stated: Name to whether the graph uses a kernel in transposed convolutions.
        guess: Whether, of kernels that the graph does not mention, the size of the bias decides or else the name.

    Returns:
        A note, if any were moved.
    """
    moved = False
    for name, array in tensors.items():
        if name in layouts or array.ndim not in _LAYOUTS:
            continue
        if stated[name] if name in stated else guess and _is_transposed(name, array.shape, tensors):
            axes = (*range(array.ndim - 2), array.ndim - 1, array.ndim - 2)
            tensors[name] = np.ascontiguousarray(array.transpose(axes))
            layouts[name] = _LAYOUTS[array.ndim]
            moved = True
    return [_NOTE] if moved else []


def _is_transposed(name: str, shape: tuple[int, ...], tensors: Mapping[str, np.ndarray]) -> bool:
    """Decides by the size of the bias, or else by the name; a kernel with one input is more likely depthwise."""
    if not _KERNEL.fullmatch(name):
        return False
    scope, slash, _ = name.rpartition("/")
    outputs, inputs = shape[-2:]
    for word in _BIASES:
        bias = tensors.get(f"{scope}{slash}{word}")
        if bias is not None and bias.ndim == 1 and outputs != inputs:
            if bias.size == outputs and inputs != 1:
                return True
            if bias.size == inputs:
                return False
    return len(shape) == 4 and _TRANSPOSED_NAME.search(scope) is not None


def _node_name(source: str) -> str:
    """Returns the name of the node of an input: ``node`` of ``^node`` and ``node:0``."""
    return source.removeprefix("^").partition(":")[0]
