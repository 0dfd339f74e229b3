"""The import path of a worker: the caller's entries and those that tasks have added."""

from __future__ import annotations

import sys

_path: list[str] = []
"""The caller's entries."""


def follow_path(path: list[str]) -> None:
    """Replace the caller's entries of the import path after it changed; keep the entries that tasks have added."""
    global _path  # one per process
    known, now = {*_path}, {*path}
    first = next((index for index, entry in enumerate(sys.path) if entry in known), len(sys.path))
    before = [entry for entry in sys.path[:first] if entry not in now]
    behind = [entry for entry in sys.path[first:] if entry not in known and entry not in now]
    sys.path[:] = [*before, *path, *behind]
    _path = path
