"""
The Trace Event format, which Perfetto and chrome://tracing read.

::

    process            thread                        events
    of the program     -                             "b", "e": waiting and transfer of each call
    of this host       a worker, or one of its rows  "X": runs; "s", "f": arrows to runs
    of each peer       a worker there                the same

It is a JSON array with one event on each line, so a reader can also use a file whose writer was killed.
"""

from __future__ import annotations

import json
import os
import sys
from typing import TYPE_CHECKING, Any

from woolexec.engine.recorder import RETURNED, Run, Where
from woolexec.platform.posix import host_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

_PROGRAM = 1
"""The number of the program's process; the numbers of hosts follow it."""

_ROWS = 1 << 22
"""
The first number for further rows of workers; no process id is as large.  The numbers are consecutive, because Perfetto
reads 32 bits.
"""

_PLACES = 20_000
"""The number of places for the rows of one worker; there are fewer rows."""


_BEFORE_END = 1e-7
"""Seconds before the end of a run at which an arrow leaves it: at the end itself, it would not belong to the run."""


class TraceFile:
    """
    Makes events of runs.

    :param write: writes text
    :param since: the time that becomes 0, in monotonic seconds
    """

    def __init__(self, write: Callable[[str], object], since: float) -> None:
        self._write = write
        self._since = since
        self._processes: dict[str, int] = {}
        self._threads: dict[Where, int] = {}
        self._workers: dict[tuple[str, int], int] = {}  # in the order in which they were seen
        self._number = self._arrows = 0
        self._name: dict[str, str] = {}  # names as JSON; there are few functions
        name = f"{os.path.basename(sys.argv[0]) or 'python'} ({os.getpid()}): before the run"
        self._write('[\n{"ph":"M","name":"process_name","pid":1,"args":{"name":' + json.dumps(name) + "}}")

    def add(self, run: Run) -> None:
        """Write the events of one attempt of a call."""
        self._number += 1
        name = self._name.get(run.name)
        if name is None:
            name = self._name[run.name] = json.dumps(run.name)
        pid, tid = self._lane(run.where)
        submitted, sent, began = (self._us(time) for time in (run.submitted, run.sent, run.began))
        waited, transfer = run.sent - run.submitted, run.began - run.sent
        args = f'"call":{run.number},"waiting_ms":{1000 * waited:.3f},"transfer_ms":{1000 * transfer:.3f}'
        if run.count:
            args += f',"items":{run.count}'
        if run.outcome != RETURNED:
            args += f',"outcome":{json.dumps(run.outcome)}'
        lane = f'"pid":{pid},"tid":{tid},"ts":{began},"dur":{max(0.0, run.ended - run.began) * 1e6:.3f}'
        lines = [f'{{"ph":"X","cat":"run","name":{name},{lane},"args":{{{args}}}}}']
        for cat, start, end in (("waiting", submitted, sent), ("transfer", sent, began)):
            before = f'"cat":"{cat}","name":{name},"id":{self._number},"pid":{_PROGRAM},"tid":0'
            lines += [f'{{"ph":"b",{before},"ts":{start}}}', f'{{"ph":"e",{before},"ts":{end}}}']
        if run.parent is not None:
            lines += self._arrow("submits", run.parent, run.submitted, (pid, tid, began))
        for made in run.inputs:
            if made.where is not None:
                lines += self._arrow("value", made.where, made.ended - _BEFORE_END, (pid, tid, began))
        self._write("".join(",\n" + line for line in lines))

    def _arrow(self, cat: str, where: Where, time: float, end: tuple[int, int, str]) -> list[str]:
        self._arrows += 1
        start = (*self._lane(where), self._us(time))
        return [
            f'{{"ph":"{phase}","cat":"{cat}","name":"{cat}","id":{self._arrows},"pid":{pid},"tid":{tid},"ts":{at}}}'
            for phase, (pid, tid, at) in (("s", start), ('f","bp":"e', end))
        ]

    def _us(self, time: float) -> str:
        return (
            f"{max(0.0, time - self._since) * 1e6:.3f}"  # clocks of peers differ, and Perfetto reads no negative times
        )

    def _lane(self, where: Where) -> tuple[int, int]:
        pid = self._processes.get(where.host)
        if pid is None:
            pid = self._processes[where.host] = _PROGRAM + 1 + len(self._processes)
            self._say("process_name", pid, name=f"peer {where.host}" if where.host else f"workers on {host_name()}")
            self._say("process_sort_index", pid, sort_index=pid)
        tid = self._threads.get(where)
        if tid is None:
            tid = self._threads[where] = _ROWS + len(self._threads) if where.row else where.pid
            place = self._workers.setdefault((where.host, where.pid), len(self._workers)) * _PLACES + where.row
            worker = f"worker {where.pid}" if where.pid else "a worker"
            self._say("thread_name", pid, tid, name=f"{worker}, lane {where.row}" if where.row else worker)
            self._say("thread_sort_index", pid, tid, sort_index=place)
        return pid, tid

    def _say(self, kind: str, pid: int, tid: int | None = None, **args: Any) -> None:
        event = {"ph": "M", "name": kind, "pid": pid, **({} if tid is None else {"tid": tid}), "args": args}
        self._write(",\n" + json.dumps(event))

    def close(self, clocks: Mapping[str, float], dropped: int = 0) -> None:
        """
        Complete the file.

        :param clocks: the maximum error of each peer's times, in seconds
        :param dropped: number of attempts that the file lacks
        """
        for host, error in clocks.items():
            if host in self._processes:
                self._say("process_labels", self._processes[host], labels=f"clock ±{1000 * error:.2f} ms")
        if dropped:
            self._say("process_labels", _PROGRAM, labels=f"{dropped} calls are missing: the disk was too slow")
        self._write("\n]\n")
