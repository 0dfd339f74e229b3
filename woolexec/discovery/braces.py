"""Brace expansion of names, as in shells: ``node{1..3}``, ``node{01..12}``, ``{ada,bob}.lab``."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

MOST = 10_000
"""Maximum number of names that one text may stand for."""

_GROUP = re.compile(r"\{([^{}]*)\}")
_RANGE = re.compile(r"(\d+)\.\.(\d+)")


def expand(text: str) -> list[str]:
    """
    Return the names that a text stands for, in order; the text alone if there are no braces.

    :raises ValueError: if what is in braces is neither a range nor a list, or there are too many
    """
    parts = _GROUP.split(text)  # every second one was in braces
    if any("{" in part or "}" in part for part in parts[::2]):
        raise ValueError(f"{text!r}: a brace is missing")
    groups = [[part] if index % 2 == 0 else list(_members(part, text)) for index, part in enumerate(parts)]
    count = 1
    for group in groups:
        count *= len(group)
    if count > MOST:
        raise ValueError(f"{text!r} stands for {count:,} names; {MOST:,} are allowed")
    return ["".join(chosen) for chosen in itertools.product(*groups)]


def _members(group: str, text: str) -> Iterator[str]:
    if found := _RANGE.fullmatch(group):
        first, last = found.groups()
        if int(first) > int(last) or int(last) - int(first) >= MOST:
            raise ValueError(
                f"{text!r}: {{{group}}} must go from a smaller to a larger number; at most {MOST:,} are allowed"
            )
        width = len(first) if first.startswith("0") or len(first) == len(last) else 0
        for number in range(int(first), int(last) + 1):
            yield f"{number:0{width}}"
    elif "," in group:
        yield from group.split(",")
    else:
        raise ValueError(f"{text!r}: {{{group}}} is neither a range, {{1..32}}, nor a list, {{a,b}}")
