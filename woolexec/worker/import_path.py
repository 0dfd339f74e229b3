"""The import path of a worker: the caller's entries, and those that tasks have added."""

from __future__ import annotations

import sys

_path: list[str] = []
"""The entries that are the caller's."""


def follow_path(path: list[str]) -> None:
    """Put the caller's import path, which has changed, in the place of what it was; what tasks have added stays."""
    global _path  # there is one
    known, now = {*_path}, {*path}
    first = next((index for index, entry in enumerate(sys.path) if entry in known), len(sys.path))
    before = [entry for entry in sys.path[:first] if entry not in now]
    behind = [entry for entry in sys.path[first:] if entry not in known and entry not in now]
    sys.path[:] = [*before, *path, *behind]
    _path = path
