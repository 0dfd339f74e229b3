"""From samples to rows, and from rows to the table, the JSON file and the markdown."""

from __future__ import annotations

import re
import statistics
from typing import TYPE_CHECKING, Any

from .bystanders import DISTURBED
from .goals import OURS, TIMES, Figure, Goal
from .workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from .measure import Measured
    from .workloads.workload import Workload

SCHEMA = 1
BEGIN, END = "<!-- bench:begin -->", "<!-- bench:end -->"
HEADERS = ("workload", "unit", "ours", "stdlib", "ratio", "target", "moonshot", "verdict", "others")
RIGHT = {"ours", "stdlib", "ratio"}


def rows_of(workload: Workload, measured: Measured) -> list[dict[str, Any]]:
    """Return one row for each figure of a workload, ready for JSON."""
    return [row_of(workload, figure, measured) for figure in workload.figures]


def row_of(workload: Workload, figure: Figure, measured: Measured) -> dict[str, Any]:
    """Judge one figure."""
    samples = {name: figures[figure.name] for name, figures in measured.figures.items()}
    values = {name: figure.value(each) for name, each in samples.items()}
    return {
        "workload": workload.name,
        "figure": figure.name,
        "title": figure.title,
        "unit": figure.unit,
        "better": figure.better,
        "size": dict(measured.size),
        "ours": values.get(OURS),
        "stdlib": None if figure.reference is None else values.get(figure.reference),
        "reference": figure.reference,
        "ratio": None if figure.reference is None else Goal(0, figure.reference).compared(values),
        "target": goals_text(figure.target, figure),
        "moonshot": goals_text(figure.moonshot, figure),
        "verdict": "failed" if OURS in measured.failed else figure.verdict(values),
        "contenders": {name: {"value": values[name], "samples": each} for name, each in samples.items()},
        "failed": dict(measured.failed),
        "bystanders": statistics.median(measured.bystanders) if measured.bystanders else None,
    }


def goals_text(goals: Sequence[Goal], figure: Figure) -> str:
    """Write the goals of one column."""
    return ", ".join(goal.text(figure.better, figure.unit) for goal in goals)


def cells(row: Mapping[str, Any]) -> tuple[str, ...]:
    """Return one row's cells, in the order of `HEADERS`."""
    others = [
        f"{name} {number(each['value'])}"
        for name, each in row["contenders"].items()
        if name not in {OURS, row["reference"]}
    ]
    return (
        row["title"],
        row["unit"],
        number(row["ours"]),
        number(row["stdlib"]),
        ratio_text(row["ratio"]),
        row["target"] or "-",
        row["moonshot"] or "-",
        row["verdict"] + (", disturbed" if disturbed(row) else ""),
        ", ".join(others) or "-",
    )


def disturbed(row: Mapping[str, Any]) -> bool:
    """Say whether other programs were busy in most rounds of the row."""
    return (row["bystanders"] or 0) > DISTURBED


def gain(row: Mapping[str, Any]) -> float:
    """Return how many times better ours is than the reference, whichever direction is better."""
    return float(row["ratio"] if row["better"] == "higher" else 1 / row["ratio"])


def number(value: float | None) -> str:
    """Write a figure with three or more digits that mean something."""
    if value is None:
        return "-"
    if value == 0:
        return "0"
    digits = 0 if abs(value) >= 100 else 1 if abs(value) >= 10 else 2
    return f"{value:,.{digits}f}"


def ratio_text(ratio: float | None) -> str:
    """Write a ratio: two digits after the point where they can decide a goal, none where it is a landslide."""
    if ratio is None:
        return "-"
    return f"{ratio:.2f}{TIMES}" if ratio < 10 else f"{ratio:,.0f}{TIMES}"


def table(result: Mapping[str, Any]) -> str:
    """Draw the table for a terminal."""
    lines = [HEADERS, *(cells(row) for row in result["rows"])]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    drawn = [
        "  ".join(pad(cell, wide, header) for cell, wide, header in zip(line, widths, HEADERS, strict=True)).rstrip()
        for line in lines
    ]
    drawn.insert(1, "  ".join("-" * wide for wide in widths))
    return "\n".join([headline(result), "", *drawn, "", *footnotes(result)])


def markdown(result: Mapping[str, Any]) -> str:
    """Write the table as docs/benchmarks.md holds it."""
    lines = [
        headline(result),
        "",
        "| " + " | ".join(HEADERS) + " |",
        "| " + " | ".join("---:" if header in RIGHT else "---" for header in HEADERS) + " |",
        *("| " + " | ".join(cell.replace("|", "\\|") for cell in cells(row)) + " |" for row in result["rows"]),
        "",
        *footnotes(result),
    ]
    return "\n".join(lines)


def headline(result: Mapping[str, Any]) -> str:
    """Say where and when in one line."""
    cpu = result["cpu"]
    began, ended = result["load"]["begin"][0], result["load"]["end"][0]
    rounds = (
        f"{result['rounds']} round" + ("s" if result["rounds"] > 1 else "") + (", quick" if result["quick"] else "")
    )
    return (
        f"{result['date']}, {result['python']}, {result['system']}, {cpu['model']} {TIMES} {cpu['usable']}, "
        f"load {began:g} before and {ended:g} after, revision {result['revision']}, "
        f"medians of {rounds}."
    )


def machine(result: Mapping[str, Any]) -> str:
    """Say for readers on what it was measured, and when."""
    cpu = result["cpu"]
    return f"Measured on {result['date'][:10]} with {result['python']} on {cpu['model']} {TIMES} {cpu['usable']}"


def footnotes(result: Mapping[str, Any]) -> list[str]:
    """Count the verdicts; name what was left out and what failed."""
    verdicts = [row["verdict"] for row in result["rows"]]
    counted = [f"{verdicts.count(word)} {word}" for word in ("moonshot", "reached", "missed", "failed")]
    notes = [f"Verdicts: {', '.join(counted)}, {verdicts.count('-')} without a goal or not judged."]
    if result["posing"]:
        notes.append(f"Not a measurement of woolexec: {result['posing']} stood in for it.")
    notes += [f"Skipped {name}: {reason}." for name, reason in result["skipped"].items()]
    shares = {row["workload"]: row["bystanders"] for row in result["rows"] if disturbed(row)}
    if shares:
        rows = ", ".join(f"{name} ({share:.0%})" for name, share in shares.items())
        notes.append(f"Other programs took a part of the processors while these ran, so measure them again: {rows}.")
    failed = {(row["workload"], name): why for row in result["rows"] for name, why in row["failed"].items()}
    notes += [f"Failed {workload} on {name}: {why.splitlines()[0]}" for (workload, name), why in failed.items()]
    return notes


def pad(cell: str, wide: int, header: str) -> str:
    """Fill a cell up to its column's width."""
    filling = " " * (wide - len(cell))
    return filling + cell if header in RIGHT else cell + filling


def put_between_markers(path: Path, text: str) -> bool:
    """Replace what stands between the markers of a file; say whether it has any."""
    if not path.exists():
        return False
    page = path.read_text(encoding="utf-8")
    pattern = re.compile(f"{re.escape(BEGIN)}.*?{re.escape(END)}", re.DOTALL)
    if not pattern.search(page):
        return False
    path.write_text(pattern.sub(lambda _: f"{BEGIN}\n{text}\n{END}", page), encoding="utf-8")
    return True


def known() -> str:
    """List the workloads with what each of them yields."""
    return "\n".join(
        f"{workload.name:14} {figure.title} ({figure.unit})" for workload in WORKLOADS for figure in workload.figures
    )
