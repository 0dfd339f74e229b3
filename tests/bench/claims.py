"""The claims of the README, with the figures of a finished run: none of them is typed by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .report import disturbed, gain, machine, number, ratio_text

if TYPE_CHECKING:
    from collections.abc import Mapping

CLAIMS = {
    ("submit", "rate"): "**Less overhead for each call**: {ours} tiny tasks a second instead of {theirs} ({ratio}).",
    ("map", "rate"): "**`map` without a `chunksize`**: {ours} tiny items a second instead of {theirs} ({ratio}).",
    ("array", "rate"): "**Arrays through shared memory**: {ours} MB/s there and back instead of {theirs} ({ratio}).",
}


def claims(result: Mapping[str, Any]) -> str:
    """Write one line for each claim that the run has figures for, then on what they were measured."""
    found = {(row["workload"], row["figure"]): row for row in result["rows"]}
    lines = [claim(words, found[key]) for key, words in CLAIMS.items() if key in found and found[key]["ratio"]]
    return "\n".join([*lines, "", f"{machine(result)}; all rows: [docs/benchmarks.md](docs/benchmarks.md)."])


def claim(words: str, row: Mapping[str, Any]) -> str:
    """Fill in the figures of one claim, and mark it as the table does."""
    filled = words.format(ours=number(row["ours"]), theirs=number(row["stdlib"]), ratio=ratio_text(gain(row)))
    return f"- {filled}{' (disturbed by other programs)' if disturbed(row) else ''}"
