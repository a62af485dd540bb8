"""Completion of commands, options and values in shells."""

import shlex
import subprocess

import pytest

from jaxcnn.cli import main
from jaxcnn.cli.app import _COMMANDS
from jaxcnn.cli.options import read_options


@pytest.fixture
def script(capsys):
    def write(shell):
        assert main(["--print-completion", shell]) == 0
        return capsys.readouterr().out

    return write


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["tr"], ["train"]),
        (["--v"], ["--version"]),
        (["--print-completion", ""], ["bash", "zsh", "fish"]),
        (["train", "--ste"], ["--steps"]),
        (["train", "--transform", "a"], ["attention", "affine"]),
        (["predict", "run", "--invert", ""], ["auto", "yes", "no"]),
        (["augment", "--no"], ["--no-overview", "--no-progress"]),
        (["inspect", "weights"], []),  # bash completes files then
    ],
)
def test_bash_completes(script, words, found):
    typed = " ".join(shlex.quote(word) for word in ["jaxcnn", *words])
    ask = f"COMP_WORDS=({typed}); COMP_CWORD={len(words)}; _jaxcnn; echo ${{COMPREPLY[*]}}"
    done = subprocess.run(["bash", "-c", f"{script('bash')}\n{ask}"], capture_output=True, text=True, check=True)
    assert done.stdout.split() == found and done.stderr == ""


@pytest.mark.parametrize("shell", ["zsh", "fish"])
def test_scripts_hold_every_command_and_option(script, shell):
    text = script(shell)
    words = shlex.split(text, comments=True)  # fails where a quote is left open
    for name, command in _COMMANDS.items():
        assert any(word.partition(":")[0] == name for word in words)
        for one in read_options(command.options):
            for flag in one.names:
                assert f"'{flag}[" in text or f"'*{flag}[" in text or f"-l {flag.removeprefix('--')} " in text


def test_zsh_offers_no_empty_word(script):
    """An empty candidate would be inserted as ``''``."""
    assert "compadd -- '--help' '--version' '--print-completion';" in script("zsh")
