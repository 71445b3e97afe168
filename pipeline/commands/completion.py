"""``cotrain completion bash|zsh``: a script by which a shell completes verbs, options, experiments and settings.

It is made from the parsers themselves and holds everything, so that completing starts no Python.
"""

from __future__ import annotations

import argparse

_START = {
    "bash": "",
    "zsh": "autoload -U +X compinit && compinit\nautoload -U +X bashcompinit && bashcompinit\n",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "shell",
        choices=tuple(_START),
        help='bash: put `eval "$(cotrain completion bash)"` into ~/.bashrc; zsh: ~/.zshrc',
    )


def run(arguments: argparse.Namespace) -> int:
    print(script(arguments.shell), end="")
    return 0


def script(shell: str) -> str:
    """The script for a shell, "bash" or "zsh"."""
    from cotrain.pipeline import __main__ as command_line
    from cotrain.pipeline.checked import entries
    from cotrain.pipeline.experiment import SECTIONS, all_settings
    from cotrain.pipeline.layers import names

    cases = []
    for verb in command_line.VERBS:
        actions = command_line.parser_for(verb)._actions
        options = [option for action in actions for option in action.option_strings if option.startswith("--")]
        words = [choice for action in actions if not action.option_strings for choice in action.choices or ()]
        words += names() if any(action.metavar == "EXPERIMENT" for action in actions) else []
        if verb == "settings":
            words += [*SECTIONS, *(one.name for one in all_settings())]
        values = "".join(
            f"        {option}) words={_quoted(action.choices)} files= ;;\n"
            for action in actions
            for option in action.option_strings
            if action.choices
        )
        files = "" if verb in ("settings", "completion", "data") else "yes"
        cases.append(
            _CASE.format(verb=verb, options=_quoted(options), words=_quoted(words), values=values, files=files)
        )
    settings = [f"{one.name}=" for cls in SECTIONS.values() for one in entries(cls)]
    settings += [f"{one.name}=" for one in all_settings() if not one.section]
    return _START[shell] + _SCRIPT.format(
        verbs=_quoted([*command_line.VERBS, "--help", "--version"]), cases="".join(cases), settings=_quoted(settings)
    )


def _quoted(words) -> str:
    return f"'{' '.join(map(str, words))}'"


_CASE = """    {verb})
      options={options}
      words={words}
      files={files}
      case $before in
{values}        *) ;;
      esac ;;
"""

# Words of a line are taken as a shell reads it: "=" and ":" do not end one, as they do for bash's own COMP_WORDS.
_SCRIPT = """_cotrain() {{
  local line=${{COMP_LINE:0:COMP_POINT}} current before verb options= words= files=yes
  local -a typed
  read -ra typed <<< "$line"
  case $line in *' ') typed+=('') ;; esac
  verb=${{typed[1]}}
  current=${{typed[${{#typed[@]}}-1]}}
  before=${{typed[${{#typed[@]}}-2]}}
  COMPREPLY=()
  if [ ${{#typed[@]}} -le 2 ]; then
    COMPREPLY=($(compgen -W {verbs} -- "$current"))
    return
  fi
  case $verb in
{cases}    *) return ;;
  esac
  case $before in
    --set)
      type compopt > /dev/null 2>&1 && compopt -o nospace
      words={settings}
      files= ;;
    --data|--runs) COMPREPLY=($(compgen -d -- "$current")); return ;;
  esac
  case $current in
    -*) COMPREPLY=($(compgen -W "$options" -- "$current")) ;;
    *)
      COMPREPLY=($(compgen -W "$words" -- "$current"))
      [ -z "$files" ] || COMPREPLY+=($(compgen -f -- "$current")) ;;
  esac
}}
complete -o filenames -F _cotrain cotrain
"""
