"""The text format of protocol buffers."""

import math

import pytest

from jaxcnn.zoo import FormatError
from jaxcnn.zoo.containers.protobuf_text import parse_prototxt, read_prototxt
from jaxcnn.zoo.containers.source_file import SourceFile
from tests.support import fuzzing


def parse(text):
    return parse_prototxt(text.encode(), source=SourceFile("file"))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", {}),
        ("# only a comment", {}),
        ("a: 1 a: -2, b: 0x1F; c: 017", {"a": [1, -2], "b": [31], "c": [15]}),
        (
            "a: 1. b: .5 c: -1e-3 d: 2.5f e: 1e5 f: 3f",
            {"a": [1.0], "b": [0.5], "c": [-1e-3], "d": [2.5], "e": [1e5], "f": [3.0]},
        ),
        (
            "a: true b: false c: MAX d: inf e: -inf",
            {"a": [True], "b": [False], "c": ["MAX"], "d": [math.inf], "e": [-math.inf]},
        ),
        ("a: 'x' 'y' \"z\"", {"a": ["xyz"]}),
        (r'a: "\n\t\"\\\x41\101é"', {"a": ['\n\t"\\AAé']}),
        ("a { b: 1 } a < b: 2 > a: { }", {"a": [{"b": [1]}, {"b": [2]}, {}]}),
        ("a: [1, 2, 3] b: [] c: [{d: 1}, {}] e [{}]", {"a": [1, 2, 3], "b": [], "c": [{"d": [1]}, {}], "e": [{}]}),
        ("a{b{c{}}}", {"a": [{"b": [{"c": [{}]}]}]}),
        ("a:1 # one\nb:2", {"a": [1], "b": [2]}),
        ("a: +0.1 b: - 2 c: -Infinity d: True", {"a": [0.1], "b": [-2], "c": [-math.inf], "d": [True]}),
    ],
)
def test_text(text, expected):
    assert parse(text) == expected


def test_not_a_number():
    assert math.isnan(parse("a: nan")["a"][0])


@pytest.mark.errors
@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("a", "line 1: expected a colon or a message"),
        ("a 1", "expected a colon or a message"),
        ("a:", "expected a value, got 'the end'"),
        ("a: }", "expected a value"),
        ("a {", "expected the name of a field, got 'the end'"),
        ("a { b: 1 >", "expected the name"),
        ("}", "expected the name"),
        ("\n\n1: 2", "line 3: expected the name"),
        ("a: 'x", "expected a token, got"),
        ("a: 1x", "expected a token, got"),
        ("a: 1.2.3", "expected a token, got"),
        ("a: 089", "is not a number"),
        ("a: -b", "expected a value"),
        ("a: [1 2]", "expected a comma"),
        ("a: [1", "expected a comma"),
        ("a: [", "expected a value"),
        (r"a: '\q'", "unknown escape"),
        (r"a: '\777'", "escape"),
        (r"a: '\xff'", "not UTF-8"),
        ("a: " + "1" * 500, "500 digits"),
        ("[a.b]: 1", "expected the name"),
        ("a {" * 100, "more than 64 deep"),
        ("a: " + "[" * 100000, "expected a value"),
    ],
)
def test_what_is_no_such_text_is_refused(text, reason):
    with pytest.raises(FormatError, match=f"file: .*{reason}"):
        parse(text)


@pytest.mark.errors
def test_files_that_are_none_are_refused(tmp_path, monkeypatch):
    with pytest.raises(FileNotFoundError):
        read_prototxt(tmp_path / "none")
    with pytest.raises(FormatError, match="must be a file"):
        read_prototxt(tmp_path)
    (tmp_path / "a").write_bytes(b"a: '\xff'")
    with pytest.raises(FormatError, match="not UTF-8"):
        read_prototxt(tmp_path / "a")
    monkeypatch.setattr("jaxcnn.zoo.containers.protobuf_text._MAX_BYTES", 5)
    with pytest.raises(FormatError, match="more than 5 bytes"):
        read_prototxt(tmp_path / "a")


@pytest.mark.errors
def test_damaged_text(tmp_path):
    content = b'a: 1 b: "text\\n" c { d: [1.5, -2] e: MAX } # end\nf < g: 0x10 h: true >\n' * 4
    outcome = fuzzing.fuzz(lambda path, max_bytes: read_prototxt(path), content, tmp_path / "text", cases=40)
    assert outcome.refused and outcome.read
