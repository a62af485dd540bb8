"""Scripts that complete commands, options and values in a shell; printed by ``jaxcnn --print-completion SHELL``."""

import re
from collections.abc import Mapping

from jaxcnn.cli.help_text import GENERAL, GENERAL_NAMES, summarize_command
from jaxcnn.cli.options import CommandOptions, Option, read_options

__all__ = ["SHELLS", "write_completion"]

Commands = Mapping[str, type[CommandOptions]]

SHELLS = ("bash", "zsh", "fish")

PATHS = re.compile(r"FILE|FOLDER|IMAGE|RUN|SOURCE|TARGET|MODULE")
"""Placeholders of values that are paths."""


def write_completion(shell: str, commands: Commands) -> str:
    """Writes the script for a shell, one of ``SHELLS``."""
    return {"bash": _write_bash, "zsh": _write_zsh, "fish": _write_fish}[shell](commands)


def _write_bash(commands: Commands) -> str:
    values, names = [], []
    for command, kind in commands.items():
        options = read_options(kind)
        for one in options:
            if one.choices:
                values.append(f'    "{command} {one.name}") words="{" ".join(one.choices)}" ;;')
            elif not one.positional and one.kind is not bool:
                values.append(f'    "{command} {one.name}") return ;;')
        words = [name for one in options for name in (*one.names, *(one.choices if one.positional else ()))]
        names.append(f'    {command}) words="{" ".join([*words, "--help"])}" ;;')
    return f"""# bash completion of jaxcnn
_jaxcnn() {{
  local current="${{COMP_WORDS[COMP_CWORD]}}" command="${{COMP_WORDS[1]}}" words=""
  COMPREPLY=()
  if [ "$COMP_CWORD" -eq 1 ]; then
    COMPREPLY=($(compgen -W "{" ".join([*commands, *GENERAL_NAMES])}" -- "$current"))
    return
  fi
  case "$command ${{COMP_WORDS[COMP_CWORD-1]}}" in
    *" --print-completion"|"--print-completion "*) words="{" ".join(SHELLS)}" ;;
{chr(10).join(values)}
    *)
      case "$current" in
        -*) ;;
        *) return ;;
      esac
      case "$command" in
{chr(10).join("    " + line for line in names)}
      esac ;;
  esac
  COMPREPLY=($(compgen -W "$words" -- "$current"))
}}
complete -o default -F _jaxcnn jaxcnn"""


def _write_zsh(commands: Commands) -> str:
    described = [f"    {_quote(f'{name}:{_brief(kind)}')}" for name, kind in commands.items()]
    cases = []
    for command, kind in commands.items():
        specs = [spec for one in read_options(kind) for spec in _zsh_specs(one)]
        specs += ["'(- *)'{-h,--help}'[Show the help]'"]
        cases.append(f"    {command})\n      _arguments \\\n        " + " \\\n        ".join(specs) + " ;;")
    general = " ".join(_quote(name) for name in GENERAL_NAMES)
    return f"""#compdef jaxcnn
_jaxcnn() {{
  local -a commands
  commands=(
{chr(10).join(described)}
  )
  if (( CURRENT == 2 )); then
    if [[ $words[2] == -* ]]; then compadd -- {general}; else _describe command commands; fi
    return
  fi
  shift words
  (( CURRENT-- ))
  case $words[1] in
    --print-completion) compadd -- {" ".join(SHELLS)} ;;
{chr(10).join(cases)}
  esac
}}
if [ "$funcstack[1]" = "_jaxcnn" ]; then _jaxcnn "$@"; else compdef _jaxcnn jaxcnn; fi"""


def _zsh_specs(one: Option) -> list[str]:
    """Writes what zsh's ``_arguments`` needs for an option."""
    value = f"({' '.join(one.choices)})" if one.choices else "_files" if PATHS.search(one.metavar) else " "
    if one.positional:
        return [_quote(f"{'*' if one.many else ''}:{one.name}:{value}")]
    text = re.sub(r"([\[\]:\\])", r"\\\1", one.text)
    if one.kind is bool:
        return [_quote(f"{name}[{text}]") for name in one.names]
    label = one.field if one.choices else one.metavar
    return [_quote(f"{'*' if one.many else ''}{one.name}[{text}]:{label}:{value}")]


def _write_fish(commands: Commands) -> str:
    lines = ["# fish completion of jaxcnn", "complete -c jaxcnn -f"]
    lines += [
        f"complete -c jaxcnn -n __fish_use_subcommand -a {name} -d {_quote(_brief(kind))}"
        for name, kind in commands.items()
    ]
    for option, (_, text) in zip(GENERAL_NAMES, GENERAL, strict=True):
        name = option.removeprefix("--")
        takes = f" -x -a '{' '.join(SHELLS)}'" if name == "print-completion" else ""
        lines.append(f"complete -c jaxcnn -n __fish_use_subcommand -l {name}{takes} -d {_quote(text)}")
    for command, kind in commands.items():
        lines += [
            f"complete -c jaxcnn -n '__fish_seen_subcommand_from {command}' {spec}"
            for one in read_options(kind)
            for spec in _fish_specs(one)
        ]
    return "\n".join(lines)


def _fish_specs(one: Option) -> list[str]:
    paths, text = PATHS.search(one.metavar), _quote(one.text)
    if one.positional:
        return ["-F"] if paths else []
    if one.kind is bool:
        return [f"-l {name.removeprefix('--')} -d {text}" for name in one.names]
    takes = f"-x -a '{' '.join(one.choices)}'" if one.choices else "-r -F" if paths else "-x"
    return [f"-l {one.name.removeprefix('--')} {takes} -d {text}"]


def _brief(command: type[CommandOptions]) -> str:
    """Returns the first clause of what a command does."""
    return re.split(r"[;:.,] ", summarize_command(command))[0].rstrip(".").replace(":", "")


def _quote(text: str) -> str:
    return "'" + text.replace("'", "'\\''") + "'"
