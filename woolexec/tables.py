"""
Statistics as tables: of text that fits a terminal, and of HTML for notebooks.

Statistics are of any type here, as those import this module to be printed.
"""

from __future__ import annotations

import html as escaping
import shutil
from typing import TYPE_CHECKING, Any, NamedTuple

from woolexec.printable import printable

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_NARROWEST = 40
_ROWS = 30
"""Maximum number of rows of one table of text."""


class Table(NamedTuple):
    """
    One table.

    :ivar title: the heading of the first column, which takes the remaining width and is aligned to the left
    :ivar names: the headings of the other columns, the least important last; those that do not fit are left out
    """

    title: str
    names: tuple[str, ...]
    rows: Sequence[tuple[str, ...]]


def duration(seconds: float | None) -> str:
    """Return a duration with its unit, in at most seven characters."""
    if not seconds:
        return "" if seconds is None else "0 s"
    for limit, factor, unit in ((1e-3, 1e6, "µs"), (1.0, 1e3, "ms"), (120.0, 1.0, "s"), (7200.0, 1 / 60, "min")):
        if seconds < limit:
            return f"{seconds * factor:.{2 if seconds * factor < 10 else 1 if seconds * factor < 100 else 0}f} {unit}"
    return f"{seconds / 3600:.1f} h"


def size(number: float | None) -> str:
    """Return a number of bytes with its unit, in at most eight characters."""
    if number is None:
        return ""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if number < 1000:
            return f"{number:.0f} {unit}" if unit == "B" or number >= 100 else f"{number:.1f} {unit}"
        number /= 1024
    return f"{number:.1f} TiB"


def head_of(statistics: Any) -> list[tuple[str, str]]:
    """Return the lines about tasks and values, each with its name."""
    tasks, values = statistics.tasks, statistics.values
    now = [(tasks.running, "running"), (tasks.sent, "sent"), (tasks.queued, "queued"), (tasks.held, "held")]
    ended = [(tasks.returned, "returned"), (tasks.failed, "failed"), (tasks.lost, "lost")]
    ended += [(tasks.cancelled, "cancelled"), (tasks.retried, "retried")]
    held = [(values.count, values.bytes, "in memory"), (values.spilled, values.spilled_bytes, "on disk")]
    held.append((values.kept, values.kept_bytes, "with peers"))
    lines = [
        ("tasks", [f"{number} {name}" for number, name in (*now[:3], *_above_0(now[3:]))]),
        ("ended", [f"{number} {name}" for number, name in (ended[0], *_above_0(ended[1:]))]),
        ("values", [f"{number} {where} ({size(taken)})" for number, taken, where in _above_0(held)]),
    ]
    return [(name, ", ".join(parts)) for name, parts in lines if parts]


def _above_0(rows: Iterable[Any]) -> Iterator[Any]:
    return (row for row in rows if row[0])


def functions(statistics: Any) -> Table:
    """Return the table of functions."""
    names = ("tasks", "run p50", "p95", "total", "failed", "lost", "max", "wait p50", "wait p95", "in", "out")
    rows = [
        (
            printable(each.name),
            str(each.count),
            *_of(each.run, each.run.p50, each.run.p95, each.run.total),
            str(each.failures or ""),
            str(each.lost or ""),
            *_of(each.run, each.run.max),
            *_of(each.wait, each.wait.p50, each.wait.p95),
            size(each.bytes_in),
            size(each.bytes_out),
        )
        for each in statistics.functions
    ]
    return Table("function", names, rows)


def _of(durations: Any, *shown: float) -> tuple[str, ...]:
    return tuple(duration(each if durations.count else None) for each in shown)


def workers(statistics: Any) -> Table:
    """Return the table of workers."""
    names = ("state", "for", "done", "memory", "cpu", "pid", "age")
    rows = []
    for each in statistics.workers:
        task = each.task or (f"actor {each.actor}" if each.actor else "")
        if each.progress is not None:
            done, total, text = each.progress
            task += f" {done:g}" + ("" if total is None else f"/{total:g}") + (f" {text}" if text else "")
        if each.coroutines:
            task += f"{' ' if task else ''}(+{each.coroutines} coroutines)"
        until = each.ended or statistics.time
        rows.append(
            (
                printable(each.lost or task or "-"),
                each.state,
                duration(each.seconds),
                str(each.done),
                size(each.memory),
                duration(each.cpu),
                str(each.pid or ""),
                duration(max(0.0, until - each.started)),
            )
        )
    return Table("worker's task", names, rows)


def peers(statistics: Any) -> Table:
    """Return the table of peers."""
    names = ("workers", "ours", "refused", "state", "round trip", "sent", "received")
    rows = [
        (
            printable(each.address),
            str(each.workers),
            str(each.outstanding),
            str(each.refused),
            "trouble" if each.trouble else "full" if each.is_full else "ready",
            duration(each.round_trip),
            size(each.bytes_sent),
            size(each.bytes_received),
        )
        for each in statistics.peers
    ]
    return Table("peer", names, rows)


def text(statistics: Any, width: int | None = None) -> str:
    """
    Return all tables as text.

    :param width: width of the terminal in characters; None: that of this process's terminal, or 80
    """
    width = max(_NARROWEST, width or shutil.get_terminal_size().columns)
    lines = [_cut(f"{name:<8}{line}", width) for name, line in head_of(statistics)]
    for table in (functions(statistics), workers(statistics), peers(statistics)):
        if table.rows:
            lines += ["", *aligned(table, width)]
    return "\n".join(lines)


def aligned(table: Table, width: int, most: int = _ROWS) -> list[str]:
    """Return the lines of a table, the heading first, with as many columns as fit."""
    shown = table.rows[:most]
    widths = [max(map(len, column)) for column in zip(table.names, *(row[1:] for row in shown), strict=True)]
    longest = max([len(table.title), *(len(row[0]) for row in shown)])
    first, count = min(longest, max(16, width // 3)), 0
    taken = first
    while count < len(widths) and taken + 2 + widths[count] <= width:
        taken += 2 + widths[count]
        count += 1
    first = min(longest, first + width - taken)
    lines = [
        _line((table.title, *table.names), first, widths[:count]),
        *(_line(row, first, widths[:count]) for row in shown),
    ]
    if len(table.rows) > most:
        lines.append(f"and {len(table.rows) - most} more")
    return lines


def _line(row: Sequence[str], first: int, widths: Iterable[int]) -> str:
    cells = [_cut(row[0], first).ljust(first)]
    cells += [cell.rjust(width) for cell, width in zip(row[1:], widths, strict=False)]
    return "  ".join(cells).rstrip()


def _cut(cell: str, width: int) -> str:
    return cell if len(cell) <= width else f"{cell[: width - 1]}…"


def html(statistics: Any) -> str:
    """Return all tables as HTML; names and texts in them are escaped."""
    parts = [f"<p>{name}: {escaping.escape(line)}</p>" for name, line in head_of(statistics)]
    for table in (functions(statistics), workers(statistics), peers(statistics)):
        if table.rows:
            head = "".join(f"<th>{escaping.escape(name)}</th>" for name in (table.title, *table.names))
            body = "".join(f"<tr>{_cells(row)}</tr>" for row in table.rows)
            parts.append(f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>")
    return "".join(parts)


def _cells(row: Sequence[str]) -> str:
    first = f'<td style="text-align:left">{escaping.escape(row[0])}</td>'
    return first + "".join(f'<td style="text-align:right">{escaping.escape(cell)}</td>' for cell in row[1:])
