"""The changes from one snapshot to the next."""

from __future__ import annotations

from typing import Any


def delta(old: dict[str, Any], new: dict[str, Any]) -> dict[str, Any]:
    """Return the changes: None removes a key, dictionaries are merged, and any other value replaces the old one."""
    changed: dict[str, Any] = {key: None for key in old if key not in new}
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            inner = delta(before, value)
            if inner:
                changed[key] = inner
        elif value != before:
            changed[key] = value
    return changed
