"""The chart of the README: how many times better than the standard library some rows of a finished run are, as SVG."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any
from xml.sax.saxutils import escape

from .goals import TIMES
from .report import disturbed, gain, machine, number, ratio_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Workload and figure of each bar, from top to bottom, and its label.  The last one is work, without much overhead.
BARS = {
    ("submit", "rate"): "submit 20,000 calls, gather",
    ("link", "rate"): "the same through a peer over TCP",
    ("round-trip", "p50"): "one call, there and back",
    ("map", "rate"): "map over 100,000 items",
    ("map-chunked", "rate"): "the same, best chunksize for both",
    ("aio-executor", "rate"): "asyncio: 5,000 run_in_executor",
    ("array", "rate"): "array of 10 MB, there and back",
    ("outstanding", "pss"): "memory of 100,000 waiting calls",
    ("map-uneven", "efficiency"): "map of tasks of 0.1-20 ms",
}

WIDTH, LEFT, RIGHT = 800, 250, 240
TOP, STEP, BAR = 60, 26, 14
LOWEST = 0.5  # where the axis begins
# The chart has a background of its own: it is readable wherever it stands, and follows the reader's colour scheme.
STYLE = """<style>
text { font: 13px system-ui, -apple-system, "Segoe UI", Helvetica, Arial, sans-serif; fill: #1f2328 }
.title { font-size: 15px; font-weight: 600 }
.quiet { font-size: 12px; fill: #59636e }
.card { fill: #ffffff; stroke: #d1d9e0 }
.line { stroke: #d1d9e0 }
.one { stroke: #59636e }
.bar { fill: #2f6fd0 }
@media (prefers-color-scheme: dark) {
text { fill: #f0f6fc }
.quiet { fill: #9198a1 }
.card { fill: #0d1117; stroke: #3d444d }
.line { stroke: #3d444d }
.one { stroke: #9198a1 }
.bar { fill: #4c8df0 }
}
</style>"""


def chart(result: Mapping[str, Any]) -> str:
    """Draw one bar for each row of `BARS` that the run has, on a logarithmic axis."""
    found = {(row["workload"], row["figure"]): row for row in result["rows"]}
    rows = [(label, found[key]) for key, label in BARS.items() if key in found and found[key]["ratio"]]
    highest = max([10.0, *(gain(row) for _, row in rows)])
    notes = footnotes(result, [row for _, row in rows])
    bottom = TOP + STEP * len(rows)
    height = bottom + 18 * (len(notes) + 1)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" viewBox="0 0 {WIDTH} {height}" role="img">',
        "<title>How many times better than ProcessPoolExecutor</title>",
        STYLE,
        f'<rect class="card" x="0.5" y="0.5" width="{WIDTH - 1}" height="{height - 1}" rx="6"/>',
        text(16, 26, "How many times better than ProcessPoolExecutor", "title"),
    ]
    for power in range(int(math.log10(highest)) + 1):
        at = across(10**power, highest)
        lines.append(f'<path class="{"line" if power else "one"}" d="M{at:.1f} {TOP - 8}V{bottom}"/>')
        lines.append(text(at, TOP - 14, f"{10**power}{TIMES}", "quiet", "middle"))
    for index, (label, row) in enumerate(rows):
        lines += bar(TOP + STEP * index, label, row, highest)
    lines += [text(16, bottom + 22 + 18 * index, note, "quiet") for index, note in enumerate(notes)]
    return "\n".join([*lines, "</svg>", ""])


def across(ratio: float, highest: float) -> float:
    """Return where a ratio is on the axis."""
    share = math.log(max(ratio, LOWEST) / LOWEST) / math.log(highest / LOWEST)
    return LEFT + share * (WIDTH - LEFT - RIGHT)


def bar(top: float, label: str, row: Mapping[str, Any], highest: float) -> list[str]:
    """Draw one row: its label, its bar from 1 to its ratio, and its figures."""
    begin, end = sorted((across(1, highest), across(gain(row), highest)))
    mark = "*" if disturbed(row) else ""
    figures = f"{number(row['ours'])} vs {number(row['stdlib'])} {row['unit']}"
    ratio = ratio_text(gain(row)) + mark
    return [
        text(LEFT - 12, top + 12, label, "", "end"),
        f'<rect class="bar" x="{begin:.1f}" y="{top}" width="{max(end - begin, 2):.1f}" height="{BAR}" rx="2"/>',
        text(end + 8, top + 12, ratio),
        text(end + 20 + 8 * len(ratio), top + 12, figures, "quiet"),
    ]


def footnotes(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Say what the axis is, on what it was measured, and what a star means."""
    notes = f"{machine(result)}.  Logarithmic axis."
    if any(disturbed(row) for row in rows):
        return [notes, "* Other programs took a part of the processors meanwhile."]
    return [notes]


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    """Write a line of text."""
    return f'<text class="{kind}" x="{x:.1f}" y="{y}" text-anchor="{anchor}">{escape(words)}</text>'
