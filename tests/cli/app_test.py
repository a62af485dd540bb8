"""The command line as a whole: help, version, and one line for every mistake."""

import runpy
import subprocess
import sys

import pytest
from rich.cells import cell_len

from jaxcnn.cli import main
from jaxcnn.cli.app import _COMMANDS
from tests.support.command_line import refused
from tests.support.selection import daily

COMMANDS = tuple(_COMMANDS)


def test_help_and_version(capsys):
    for arguments in ([], ["--help"], ["train", "--help"], ["predict", "--help"], ["augment", "--help"], ["--version"]):
        assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Show every augmentation, and samples of a whole policy, on pictures" in said
    assert "Train a CNN, and a CNN behind a spatial transformer" in said
    assert "Training steps of each network. (default: 800)" in said
    assert "jaxcnn 0." in said


@pytest.mark.parametrize("command", COMMANDS)
def test_help_says_one_default_per_option_in_words(command, capsys):
    assert main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.split())
    assert not any(text in said for text in ("(default: )", "None", "[default", "True", "False", "MISSING"))


@pytest.mark.parametrize("width", [40, 60, 80, 200])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_is_wrapped_to_the_terminal_and_loses_no_word(command, width, capsys, monkeypatch):
    words = [*([command] if command else []), "--help"]
    monkeypatch.setenv("COLUMNS", "200")
    assert main(words) == 0
    wide = capsys.readouterr().out
    monkeypatch.setenv("COLUMNS", str(width))
    assert main(words) == 0
    said = capsys.readouterr().out
    assert max(map(cell_len, said.splitlines())) <= width and sorted(said.split()) == sorted(wide.split())


def test_help_shows_what_is_optional(capsys):
    for command, usage in (
        ("records", "usage: jaxcnn records [OPTIONS] [TEXT]"),
        ("augment", "usage: jaxcnn augment [OPTIONS] [IMAGE ...]"),
        ("predict", "usage: jaxcnn predict [OPTIONS] RUN|FILE IMAGE [IMAGE ...]"),
        ("convert", "usage: jaxcnn convert [OPTIONS] SOURCE TARGET"),
    ):
        assert main([command, "--help"]) == 0
        assert capsys.readouterr().out.splitlines()[0] == usage


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--stpes", "3"],
            "jaxcnn train: unknown option --stpes (did you mean --steps?); see jaxcnn train --help",
        ),
        (["train", "--steps", "many"], "--steps must be an integer, got 'many'"),
        (["train", "--steps", "0"], "steps must be a positive integer, got 0"),
        (["train", "--arms", "mlp"], "--arms must be one of cnn, st_cnn, got 'mlp'"),
        (["trian"], "unknown command 'trian' (did you mean 'train'?); see jaxcnn --help"),
        (["train", "--steps"], "jaxcnn train: --steps needs a value; see jaxcnn train --help"),
        (["train", "--progress=yes"], "--progress takes no value"),
        (["train", "--learning_rate=fast"], "--learning-rate must be a number, got 'fast'"),
        (["train", "--transform", "afine"], "got 'afine' (did you mean 'affine'?)"),
        (["predict", "run", "a.png", "--sed", "3"], "unknown option --sed (did you mean --seed?)"),
        (["--vresion"], "unknown option '--vresion' (did you mean --version?); see jaxcnn --help"),
        (["finish"], "unknown command 'finish'; the commands are train, eval, predict,"),
        (["--print-completion", "csh"], "--print-completion must be one of bash, zsh, fish, got 'csh'"),
        (["train", "lenet"], "unexpected 'lenet'; it takes options only"),
        (["eval", "run", "other"], "unexpected 'other' after RUN"),
        (["inspect"], "jaxcnn inspect: missing FILE"),
        (["convert", "a"], "jaxcnn convert: missing TARGET"),
        (["eval"], "jaxcnn eval: missing RUN"),
        (["eval", "no/such/run"], "no/such/run'"),
        (["train", "--resume", "no/such/run"], "no/such/run'"),
        (["train", "--resume", "no/such/run", "--steps", "5"], "takes all options from the run, got also --steps"),
        (["predict", "no/such/run", "x.png"], "no/such/run'"),
    ],
)
def test_errors_of_the_command_line(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_errors_exit_the_process_with_code_2(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["jaxcnn", "eval", "no/such/run"])
    with pytest.raises(SystemExit) as caught:
        runpy.run_module("jaxcnn.cli", run_name="__main__")
    said = capsys.readouterr()
    assert (caught.value.code, said.out, said.err.count("\n")) == (2, "", 1)


@pytest.mark.parametrize(
    "words", daily([["records"], ["--help"], ["train", "--help"], ["--print-completion", "bash"]], [["records"]])
)
def test_a_reader_that_leaves_early_ends_the_command_quietly(words):
    """As in `jaxcnn records | head -1`."""
    command = [sys.executable, "-m", "jaxcnn.cli", *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout is not None and running.stderr is not None
        running.stdout.close()
        assert running.stderr.read() == b""
    assert running.returncode == 0


def test_options_are_read_in_any_order_and_spelling(monkeypatch):
    seen = []
    monkeypatch.setitem(_COMMANDS, "predict", _COMMANDS["predict"]._replace(run=seen.append))
    monkeypatch.setitem(_COMMANDS, "train", _COMMANDS["train"]._replace(run=seen.append))
    assert main(["predict", "--seed", "2", "run", "a.png", "--invert=yes", "b.png", "--", "--c.png"]) == 0
    assert main(["train", "--learning_rate", "1e-2", "--arms", "st_cnn", "cnn", "--no-progress", "--steps=7"]) == 0
    predict, train = seen
    assert (predict.run, predict.images, predict.seed) == ("run", ("a.png", "b.png", "--c.png"), 2)
    assert (predict.invert, predict.member, predict.checkpoint) == ("yes", None, "best")
    assert (train.learning_rate, train.arms, train.progress, train.steps) == (0.01, ("st_cnn", "cnn"), False, 7)
