"""The options of a launcher in a URL: ``slurm://?min=0&max=16&workers=32``."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl


def seconds(text: str) -> float | None:
    """Parse a number of seconds; ``none`` is None."""
    return None if text == "none" else float(text)


LAUNCHER: Mapping[str, Callable[[str], Any]] = {"min": int, "max": int, "workers": int, "idle_timeout": seconds}
"""The options that every launcher has."""

BATCH: Mapping[str, Callable[[str], Any]] = {**LAUNCHER, "folder": str, "python": str, "prelude": str, "lease": float}
"""The options that every batch system has."""


def options_of(parts: SplitResult, kinds: Mapping[str, Callable[[str], Any]]) -> dict[str, Any]:
    """
    Parse the query of a URL.

    :param kinds: how the value of each option is parsed
    :raises ValueError: for unknown options, and for values that cannot be parsed
    """
    found = {}
    for name, text in parse_qsl(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query)):
        if name not in kinds:
            raise ValueError(f"{name}= is not an option here; options are {', '.join(kinds)}")
        try:
            found[name] = kinds[name](text)
        except ValueError:
            raise ValueError(f"{name}={text}: a number is expected") from None
    return found
