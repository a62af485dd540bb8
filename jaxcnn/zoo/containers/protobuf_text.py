"""The text format of protocol buffers, used for Caffe's networks and TensorFlow's lists of checkpoints."""

import os
import re
from collections.abc import Iterator
from typing import Any

from jaxcnn.zoo.checkpoint import FormatError
from jaxcnn.zoo.containers.source_file import SourceFile

__all__ = ["find_first_field", "parse_prototxt", "read_prototxt"]

_MAX_BYTES = 1 << 23
_MAX_DEPTH = 64
_MESSAGE_COST, _FIELD_COST = 256, 128  # bytes of Python's objects
_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_TOKEN = re.compile(
    r"""(?P<space>[ \t\r\n\v\f]+|\#[^\n]*)
    |(?P<text>"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*')
    |(?P<number>[-+]?[ \t]*(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?[fF]?)(?![\w.]))
    |(?P<name>(?:-[ \t]*)?[A-Za-z_][A-Za-z0-9_]*)
    |(?P<mark>[{}<>\[\]:;,])""",
    re.VERBOSE,
)
_FIRST_FIELD = re.compile(rb"(?:[ \t\r\n\v\f]|#[^\n]*+)*+([A-Za-z_]\w*+)(?:[ \t\r\n\v\f]|#[^\n]*+)*+[:{<]")
_ESCAPES = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92, "'": 39, '"': 34, "?": 63}
_ESCAPE = re.compile(r"\\(?:([0-7]{1,3})|[xX]([0-9a-fA-F]{1,2})|(.))|([^\\]+)", re.DOTALL)
_WORDS = {"true": True, "false": False, "True": True, "False": False}
_WORDS |= {f"{sign}{name}": float(f"{sign}{name}") for sign in ("", "-") for name in ("inf", "infinity", "nan")}


def read_prototxt(path: str | os.PathLike[str]) -> dict[str, list[Any]]:
    """Reads a file in the text format of protocol buffers.

    Convention:
        As in ``parse_prototxt``.

    Args:
        path: The file, at most 8 MiB.

    Returns:
        Name of field to the list of its values.

    Raises:
        FileNotFoundError: If there is no such file.
        FormatError: If it is not such a text.

    Example:
        >>> from jaxcnn.zoo.containers.protobuf_text import read_prototxt
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
        content = file.read(min(os.fstat(file.fileno()).st_size, _MAX_BYTES) + 1)
    if len(content) > _MAX_BYTES:
        raise FormatError(path, f"has more than {_MAX_BYTES} bytes, too many for a file of this kind.")
    return parse_prototxt(content, source=SourceFile(path))


def parse_prototxt(content: bytes, *, source: SourceFile) -> dict[str, list[Any]]:
    """Parses the text format of protocol buffers.

    Convention:
        Without a schema it is not known which fields are repeated, so every field is a list. Values are integers,
        floats, booleans, text, and dictionaries for messages; the names of enumerations are text.

    Args:
        content: The text, UTF-8; comments may be in any encoding.
        source: Where it comes from, for error messages.

    Returns:
        Name of field to the list of its values.

    Raises:
        FormatError: If it is not such a text.

    Example:
        >>> from jaxcnn.zoo.containers.protobuf_text import parse_prototxt
        >>> from jaxcnn.zoo.containers.source_file import SourceFile
        >>> parse_prototxt(b'dim: 1 dim: -3 pool: MAX name: "a" "b"', source=SourceFile("example"))
        {'dim': [1, -3], 'pool': ['MAX'], 'name': ['ab']}
    """
    text = content.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", "surrogateescape")  # comments are often Latin-1
    return _Parser(text, source).message(None, 0)


def find_first_field(content: bytes | memoryview) -> str | None:
    r"""Finds the name of the first field of a text, behind any number of comments.

    Args:
        content: The text, or its beginning.

    Returns:
        The name, or None if the text begins with something other than a field.

    Example:
        >>> from jaxcnn.zoo.containers.protobuf_text import find_first_field
        >>> find_first_field(b"# a network\n\nlayer { }")
        'layer'
    """
    begin = len(_BYTE_ORDER_MARK) if bytes(content[: len(_BYTE_ORDER_MARK)]) == _BYTE_ORDER_MARK else 0
    found = _FIRST_FIELD.match(content[:_MAX_BYTES], begin)
    return None if found is None else found[1].decode()


class _Parser:
    """The text, with one token of lookahead."""

    def __init__(self, text: str, source: SourceFile):
        self.text, self.source, self.position = text, source, 0
        self.tokens = self._tokens()
        self.kind, self.token = next(self.tokens)

    def error(self, reason: str) -> FormatError:
        return self.source.error(f"line {self.text.count(chr(10), 0, self.position) + 1}: {reason}")

    def _tokens(self) -> Iterator[tuple[str, str]]:
        while self.position < len(self.text):
            found = _TOKEN.match(self.text, self.position)
            if found is None or found.lastgroup is None:
                raise self.error(f"expected a token, got {self.text[self.position : self.position + 20]!r}.")
            if found.lastgroup != "space":
                yield found.lastgroup, found.group()
            self.position = found.end()
        while True:
            yield "end", ""

    def step(self) -> str:
        token = self.token
        self.kind, self.token = next(self.tokens)
        return token

    def message(self, closing: str | None, depth: int) -> dict[str, list[Any]]:
        """Parses fields up to the mark that closes the message."""
        if depth > _MAX_DEPTH:
            raise self.error(f"messages are nested more than {_MAX_DEPTH} deep.")
        self.source.spend_objects(_MESSAGE_COST)
        result: dict[str, list[Any]] = {}
        while not (self.kind == "end" if closing is None else self.kind == "mark" and self.token == closing):
            if self.kind != "name" or self.token.startswith("-"):
                raise self.error(f"expected the name of a field, got {self.token[:40] or 'the end'!r}.")
            self.source.spend_objects(_FIELD_COST)
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
                        raise self.error(f"expected a comma or ] in a list, got {self.token[:40] or 'the end'!r}.")
                self.step()
            else:
                values.append(self.value(depth, colon))
            if self.token in (",", ";"):
                self.step()
        if closing is not None:
            self.step()
        return result

    def value(self, depth: int, scalar: bool) -> Any:
        """Parses one value; without a colon before it, it must be a message."""
        if self.kind == "mark" and self.token in "{<":
            return self.message("}" if self.step() == "{" else ">", depth + 1)
        if not scalar:
            raise self.error(f"expected a colon or a message, got {self.token[:40] or 'the end'!r}.")
        if self.kind == "text":
            parts = bytearray()
            while self.kind == "text":
                parts += self.unescape(self.step()[1:-1])
            try:
                return parts.decode("utf-8")
            except UnicodeDecodeError as error:
                raise self.error(f"a string is not UTF-8: {error}") from error
        if self.kind == "name":
            word = re.sub(r"[ \t]", "", self.step())
            if word.startswith("-"):
                word = word.lower()  # only an infinity can follow: names of enumerations have no sign
            if word.startswith("-") and word not in _WORDS:
                raise self.error(f"expected a value, got {word[:40]!r}.")
            return _WORDS.get(word, word)
        if self.kind == "number":
            return self.number(self.step())
        raise self.error(f"expected a value, got {self.token[:40] or 'the end'!r}.")

    def number(self, token: str) -> int | float:
        digits = token.lstrip("-+ \t")
        if len(digits) > 400:
            raise self.error(f"a number has {len(digits)} digits.")
        try:
            if digits[:2] in ("0x", "0X"):
                value: int | float = int(digits, 16)
            elif digits.isdigit():
                value = int(digits, 8 if len(digits) > 1 and digits[0] == "0" else 10)
            else:
                value = float(digits.rstrip("fF"))
        except ValueError as error:
            raise self.error(f"{token[:40]!r} is not a number.") from error
        return -value if token.startswith("-") else value

    def unescape(self, text: str) -> bytes:
        result = bytearray()
        for octal, hexadecimal, letter, plain in _ESCAPE.findall(text):
            if plain:
                result += plain.encode("utf-8", "surrogateescape")
            elif octal or hexadecimal:
                value = int(octal, 8) if octal else int(hexadecimal, 16)
                if value > 255:
                    raise self.error(f"a string has the escape \\{octal}.")
                result.append(value)
            elif letter in _ESCAPES:
                result.append(_ESCAPES[letter])
            else:
                shown = f"\\{letter}"
                raise self.error(f"a string has the unknown escape {shown!a}.")
        return bytes(result)
