"""The command line as a whole: help, version, and one line for every mistake."""

import subprocess
import sys

import pytest

from jaxcnn.cli import main
from tests.support.command_line import refused


def test_help_and_version(capsys):
    for arguments in ([], ["--help"], ["train", "--help"], ["predict", "--help"], ["augment", "--help"], ["--version"]):
        assert main(arguments) == 0
    said = capsys.readouterr().out
    assert "Show every augmentation, and samples of a whole policy, on pictures" in said
    assert "Train a CNN, and a CNN behind a spatial transformer" in said
    assert "Training steps of each network. (default: 800)" in said
    assert "jaxcnn 0." in said


@pytest.mark.parametrize(
    "command", ["train", "eval", "predict", "report", "augment", "records", "download", "inspect", "convert"]
)
def test_help_says_one_default_per_option_in_words(command, capsys):
    assert main([command, "--help"]) == 0
    said = " ".join(capsys.readouterr().out.replace("│", " ").split())
    assert not any(text in said for text in ("(default: )", "(default: None)", "[default"))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (
            ["train", "--stpes", "3"],
            "unrecognized options: --stpes, 3 (did you mean --steps?); see jaxcnn train --help",
        ),
        (["train", "--steps", "many"], "error parsing --steps"),
        (["train", "--steps", "0"], "steps must be a positive integer, got 0"),
        (["train", "--arms", "mlp"], "invalid choice 'mlp'"),
        (["trian"], "unrecognized options: trian"),
        (["inspect"], "missing from jaxcnn inspect: FILE"),
        (["convert", "a"], "missing from jaxcnn convert: TARGET"),
        (["eval"], "missing from jaxcnn eval: RUN"),
        (["eval", "no/such/run"], "no/such/run'"),
        (["train", "--resume", "no/such/run"], "no/such/run'"),
        (["train", "--resume", "no/such/run", "--steps", "5"], "takes all options from the run, got also --steps"),
        (["predict", "no/such/run", "x.png"], "no/such/run'"),
    ],
)
def test_errors_of_the_command_line(capsys, arguments, message):
    assert message in refused(capsys, *arguments)


def test_errors_exit_the_process_with_code_2():
    done = subprocess.run(
        [sys.executable, "-m", "jaxcnn.cli", "eval", "no/such/run"], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
