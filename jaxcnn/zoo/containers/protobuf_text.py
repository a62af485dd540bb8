"""The text form of protocol buffers, as Caffe writes its networks in and TensorFlow the list of its checkpoints."""

import os
import re
from collections.abc import Iterator
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError

__all__ = ["parse_prototxt", "read_prototxt"]

_MOST_BYTES = 1 << 23
_MOST_DEPTH = 64
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\v\f]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>-?(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![\w.]))
    |(?P<name>-?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>[{}<>\[\]:;,])""",
    re.VERBOSE,
)
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))|([^\\]+)", re.DOTALL)
_WORDS = {"true": True, "false": False, "inf": float("inf"), "-inf": float("-inf"), "nan": float("nan")}


def read_prototxt(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Reads a file in the text form of protocol buffers.

    Convention:
        As ``parse_prototxt``.

    Args:
        path: The file, at most 8 MiB.

    Returns:
        Name of field to the list of its values.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is no such text.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp()) / "net.prototxt"
        >>> _ = path.write_text('name: "LeNet" layer { name: "pool1" pooling_param { stride: 2 } }')
        >>> read_prototxt(path)["layer"]
        [{'name': ['pool1'], 'pooling_param': [{'stride': [2]}]}]
    """
    if not os.path.exists(path):
        raise FileNotFoundError(f"read_prototxt: path must be an existing file, got {os.fspath(path)!r}.")
    if not os.path.isfile(path):
        raise FormatError(path, "must be a file, not a folder or a device.")
    with open(path, "rb") as file:
        content = file.read(min(os.fstat(file.fileno()).st_size, _MOST_BYTES) + 1)
    if len(content) > _MOST_BYTES:
        raise FormatError(path, f"has more than {_MOST_BYTES} bytes, too many for a text of this kind.")
    return parse_prototxt(content, path=path)


def parse_prototxt(content: bytes, *, path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Parses the text form of protocol buffers.

    Convention:
        Without a schema it is unknown which fields may be repeated, so every field is a list. Values are integers,
        floats, booleans, text, and dictionaries for messages; the names of enumerations are text.

    Args:
        content: The text, UTF-8.
        path: Where it comes from, for the message of an error.

    Returns:
        Name of field to the list of its values.

    Raises:
        FormatError: If it is no such text.

    Example:
        >>> parse_prototxt(b'dim: 1 dim: -3 pool: MAX name: "a" "b"', path="example")
        {'dim': [1, -3], 'pool': ['MAX'], 'name': ['ab']}
    """
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        raise FormatError(path, f"is not UTF-8: {error}") from error
    return _Parser(text, path).message(None, 0)


class _Parser:
    """The text, one token ahead."""

    def __init__(self, text: str, path: Any):
        self.text, self.path, self.place = text, path, 0
        self.tokens = self._tokens()
        self.kind, self.token = next(self.tokens)

    def fail(self, reason: str) -> FormatError:
        return FormatError(self.path, f"line {self.text.count(chr(10), 0, self.place) + 1}: {reason}")

    def _tokens(self) -> Iterator[tuple[str, str]]:
        while self.place < len(self.text):
            found = _TOKEN.match(self.text, self.place)
            if found is None or found.lastgroup is None:
                raise self.fail(f"no text of this kind has {self.text[self.place : self.place + 20]!r}.")
            if found.lastgroup != "space":
                yield found.lastgroup, found.group()
            self.place = found.end()
        while True:
            yield "end", ""

    def step(self) -> str:
        token = self.token
        self.kind, self.token = next(self.tokens)
        return token

    def message(self, closing: str | None, depth: int) -> dict[str, list[Any]]:
        """Parses fields until the mark that closes the message."""
        if depth > _MOST_DEPTH:
            raise self.fail(f"messages lie in each other more than {_MOST_DEPTH} deep.")
        result: dict[str, list[Any]] = {}
        while not (self.kind == "end" if closing is None else self.kind == "mark" and self.token == closing):
            if self.kind != "name" or self.token.startswith("-"):
                raise self.fail(f"expected the name of a field, got {self.token[:40] or 'the end'!r}.")
            values = result.setdefault(self.step(), [])
            colon = self.token == ":"
            if colon:
                self.step()
            if self.token == "[":
                self.step()
                while self.token != "]":
                    values.append(self.value(depth, True))
                    if self.token == ",":
                        self.step()
                    elif self.token != "]":
                        raise self.fail(f"expected a comma or ] in a list, got {self.token[:40] or 'the end'!r}.")
                self.step()
            else:
                values.append(self.value(depth, colon))
            if self.token in (",", ";"):
                self.step()
        if closing is not None:
            self.step()
        return result

    def value(self, depth: int, scalar: bool) -> Any:
        """Parses one value; without a colon before it only a message may follow."""
        if self.kind == "mark" and self.token in "{<":
            return self.message("}" if self.step() == "{" else ">", depth + 1)
        if not scalar:
            raise self.fail(f"expected a colon or a message, got {self.token[:40] or 'the end'!r}.")
        if self.kind == "text":
            parts = bytearray()
            while self.kind == "text":
                parts += self.unescaped(self.step()[1:-1])
            try:
                return parts.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.fail(f"a text is not UTF-8: {error}") from error
        if self.kind == "name":
            word = self.step()
            if word.startswith("-") and word not in _WORDS:
                raise self.fail(f"expected a value, got {word[:40]!r}.")
            return _WORDS.get(word, word)
        if self.kind == "number":
            return self.number(self.step())
        raise self.fail(f"expected a value, got {self.token[:40] or 'the end'!r}.")

    def number(self, token: str) -> int | float:
        digits = token.removeprefix("-")
        if len(digits) > 400:
            raise self.fail(f"a number has {len(digits)} digits.")
        try:
            if digits[:2] in ("0x", "0X"):
                value: int | float = int(digits, 16)
            elif digits.isdigit():
                value = int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
            else:
                value = float(digits.rstrip("fF"))
        except ValueError as error:
            raise self.fail(f"{token[:40]!r} is no number.") from error
        return -value if token.startswith("-") else value

    def unescaped(self, text: str) -> bytes:
        result = bytearray()
        for octal, hexadecimal, letter, plain in _ESCAPE.findall(text):
            if plain:
                result += plain.encode("utf-8")
            elif octal or hexadecimal:
                value = int(octal, 8) if octal else int(hexadecimal, 16)
                if value > 255:
                    raise self.fail(f"a text has the escape \\{octal}.")
                result.append(value)
            elif letter in _ESCAPES:
                result.append(_ESCAPES[letter])
            else:
                raise self.fail(f"a text has the unknown escape \\{letter}.")
        return bytes(result)
