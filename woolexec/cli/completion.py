"""
``woolexec completion``: a completion script for a shell, made from the command's parsers.

The script contains the words of each command at the time when it is made.  For the values of options the shell
completes file names.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator

SHELLS = ("bash", "fish", "zsh")

Words = dict[str, list[tuple[str, str]]]


def run(arguments: argparse.Namespace, parser: argparse.ArgumentParser) -> int:
    """Print the script for a shell."""
    words = dict(_words(parser, ""))
    print(_fish(words) if arguments.shell == "fish" else _bash(words, arguments.shell))
    return 0


def _words(parser: argparse.ArgumentParser, path: str) -> Iterator[tuple[str, list[tuple[str, str]]]]:
    """Yield, for each command and its subcommands, the words that may follow it and their help."""
    words: list[tuple[str, str]] = []
    for action in parser._actions:  # argparse has no public way to get them
        if isinstance(action, argparse._SubParsersAction):
            meanings = {choice.dest: choice.help or "" for choice in action._choices_actions}
            for name, below in action.choices.items():
                words.append((name, meanings.get(name, "")))
                yield from _words(below, f"{path} {name}".strip())
        elif action.option_strings:
            words += [(option, action.help or "") for option in action.option_strings]
        elif action.choices is not None:
            words += [(str(choice), action.help or "") for choice in action.choices]
    yield path, words


def _bash(words: Words, shell: str) -> str:
    cases = [f'        "{path}") words="{" ".join(word for word, _ in found)}" ;;' for path, found in words.items()]
    paths = " | ".join(f'"{path}"' for path in words if path)
    return "\n".join(
        [
            *(["autoload -U +X bashcompinit && bashcompinit"] if shell == "zsh" else []),
            "_woolexec() {",
            '    local path="" word words=""',
            '    for word in "${COMP_WORDS[@]:1:COMP_CWORD-1}"; do',
            '        case "${path:+$path }$word" in',
            f'            {paths}) path="${{path:+$path }}$word" ;;',
            "        esac",
            "    done",
            '    case "$path" in',
            *cases,
            "    esac",
            '    COMPREPLY=($(compgen -W "$words" -- "${COMP_WORDS[COMP_CWORD]}"))',
            "}",
            "complete -o default -F _woolexec woolexec",
        ]
    )


def _fish(words: Words) -> str:
    lines = []
    for path, found in words.items():
        below = [each.rpartition(" ")[2] for each in words if each and each.rpartition(" ")[0] == path]
        seen = [f"__fish_seen_subcommand_from {word}" for word in path.split()]
        unseen = [f"not __fish_seen_subcommand_from {' '.join(below)}"] if below else []
        condition = "; and ".join(seen + unseen) or "true"
        for word, meaning in found:
            kind = f"-l {word[2:]}" if word[:2] == "--" else f"-s {word[1:]}" if word[0] == "-" else f"-fa {word}"
            text = meaning.replace("\\", "\\\\").replace("'", "\\'")
            lines.append(f"complete -c woolexec -n '{condition}' {kind} -d '{text}'")
    return "\n".join(lines)
