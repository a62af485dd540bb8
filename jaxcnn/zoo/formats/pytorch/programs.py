"""What the programs of TorchScript say of the tensors that they use: convolutions, their groups, dense layers."""

import re
from collections.abc import Iterator
from typing import NamedTuple

__all__ = ["KernelUse", "find_uses"]

_MAX_CALL = 4096  # characters
_CLASS = re.compile(r"(?m)^class (\w+)\(")
_ASSIGNMENT = re.compile(r"(?m)^ *(\w+) = (?:self|\(self\))\.(\w+)$")
_CALL = re.compile(
    r"\b(torch|__torch__\.torch\.nn\.functional(?:\.___torch_mangle_\d+)?)"
    r"\.(conv[123]d|conv_transpose[123]d|_convolution|_convolution_mode|linear|embedding)(?=\()"
)
_ALIAS = re.compile(r"(?m)^ *(_\w+) = (__torch__\.torch\.nn\.functional\.[\w.]+)$")
_CONSTANT = re.compile(r"CONSTANTS\.c(\d+)")


class KernelUse(NamedTuple):
    """How a program uses a tensor.

    Attributes:
        kind: ``"conv"``, ``"conv_transpose"``, ``"linear"`` or ``"embedding"``.
        groups: Of a convolution; 0 if the program computes them.
    """

    kind: str
    groups: int = 1


def find_uses(program: str) -> dict[tuple[str, str], KernelUse]:
    """Finds the tensors that a program uses as kernels, matrices or tables, always in the same way.

    Args:
        program: The text of one file of the program.

    Returns:
        Name of the class and of its attribute to use; a constant has an empty name of the class, and its number.

    Example:
        >>> from jaxcnn.zoo.formats.pytorch.programs import find_uses
        >>> lines = ["class A(Module):", "  def forward(self, x):", "    w = self.weight"]
        >>> lines.append("    return torch.conv2d(x, w, None, [1, 1], [0, 0], [1, 1], 4)")
        >>> find_uses(chr(10).join(lines))
        {('A', 'weight'): KernelUse(kind='conv', groups=4)}
    """
    found: dict[tuple[str, str], KernelUse | None] = {}
    begins = [(match.start(), match[1]) for match in _CLASS.finditer(program)]
    ends = [*(begin for begin, _ in begins[1:]), len(program)]
    for (begin, name), end in zip(begins, ends, strict=False):
        text = program[begin:end]
        attributes = {match[1]: match[2] for match in _ASSIGNMENT.finditer(text)}
        for tensor, use in _list_calls(text):
            constant = _CONSTANT.fullmatch(tensor)
            key = ("", constant[1]) if constant else (name, attributes.get(tensor, tensor.removeprefix("self.")))
            found[key] = use if found.get(key, use) == use else None
    return {key: use for key, use in found.items() if use is not None}


def _list_calls(text: str) -> Iterator[tuple[str, KernelUse]]:
    """Yields the tensor of each call, as the program writes it, and its use."""
    aliases = {match[1]: match[2] for match in _ALIAS.finditer(text)}
    if aliases:
        text = re.sub(r"\b_\w+(?=\()", lambda match: aliases.get(match[0], match[0]), text)
    for match in _CALL.finditer(text):
        arguments = _split_arguments(text[match.end() : match.end() + _MAX_CALL])
        function = match[2]
        if function in ("linear", "embedding"):
            place = 0 if function == "embedding" and match[1] == "torch" else 1
            if len(arguments) > place:
                yield arguments[place], KernelUse(function)
            continue
        transposed = function.startswith("conv_transpose")
        place = 6
        if function == "_convolution":
            place = 8
            transposed = arguments[6:7] == ["True"]
        given = arguments[place] if len(arguments) > place else "1"
        groups = int(given) if given.isdecimal() and len(given) < 10 else 0
        if len(arguments) > 1:
            yield arguments[1], KernelUse("conv_transpose" if transposed else "conv", groups)


def _split_arguments(text: str) -> list[str]:
    """Splits the arguments of a call, whose opening parenthesis comes first; none if it does not end."""
    arguments, depth, begin = [], 0, 1
    for place, letter in enumerate(text):
        if letter in "([":
            depth += 1
        elif letter in ")]":
            depth -= 1
        if depth == 0 or (depth == 1 and letter == ","):
            arguments.append(text[begin:place].strip())
            begin = place + 1
        if depth == 0:
            return [argument for argument in arguments if argument]
    return []
