"""
``woolexec demo``: parse every source file of the standard library in a pool.

1. ``census.find_sources`` lists the files and reads each once, so that all three runs find them in memory.
2. ``census.measure`` parses one file and counts what it contains: this is what the workers run.
3. ``run`` maps it over the files three times (`PeerPoolExecutor`, `ProcessPoolExecutor`, no pool), checks that the
   results are equal, and prints them, the time of each run, and the timeline of the first.
"""

from __future__ import annotations

import json
import platform
import signal
import sys
import sysconfig
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import closing, nullcontext
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Self, TextIO

from woolexec import PeerPoolExecutor
from woolexec.cli.census import Function, Measures, by_length, find_sources, measure
from woolexec.cli.lanes import lanes_of
from woolexec.cli.local_peers import local_peers
from woolexec.cli.timeline import write_page
from woolexec.cpus import usable_cpus
from woolexec.observe.timeline import events_of

SHOWN = 5

_TIMELINE = 62
"""Width of the timeline, in characters."""


@dataclass(frozen=True, slots=True)
class Timing:
    """The time of a whole run, from creating the pool to its shutdown."""

    name: str
    seconds: float


# -- the three runs ----------------------------------------------------------------------------------------------------


def run(
    *,
    workers: int | None = None,
    limit: int | None = None,
    peers: int = 0,
    as_json: bool = False,
    timeline: str | None = None,
) -> int:
    """
    Run the job three times and print the result; return the exit code.

    :param peers: number of peers on this machine that share the workers; 0: the workers belong to this process
    :param timeline: the file to which the timeline of the first run is written, as a page; None: none
    """
    with tempfile.TemporaryDirectory(prefix="woolexec-demo-") as folder:
        trace = str(Path(folder, "demo.json"))
        report = _run(workers, limit, peers, trace)
        if timeline is not None:
            write_page(trace, timeline)
        print(report.as_json() if as_json else report.as_table())
        if not as_json:
            _print_timeline(trace, timeline)
    return 0 if report.agree else 1


def _run(workers: int | None, limit: int | None, peers: int, trace: str) -> Report:
    root = Path(sysconfig.get_path("stdlib"))
    files = find_sources(root)
    if limit is not None and limit < len(files):
        files = [files[index * len(files) // limit] for index in range(limit)]
    workers = workers or usable_cpus()

    if peers:
        with local_peers(peers, -(-workers // peers)) as (addresses, credentials):
            make_pool = partial(PeerPoolExecutor, peers=addresses, credentials=credentials)
            measures, in_peers = _timed(f"{peers} peers", make_pool, root, files, trace)
    else:
        measures, in_peers = _timed("PeerPoolExecutor", lambda: PeerPoolExecutor(workers), root, files, trace)
    in_processes, stdlib = _timed(
        "ProcessPoolExecutor",
        lambda: ProcessPoolExecutor(workers, initializer=_leave_interrupts_to_the_parent),
        root,
        files,
    )
    serially, serial = _timed("serially", None, root, files)

    return Report(str(root), workers, measures, (in_peers, stdlib, serial), measures == in_processes == serially)


def _print_timeline(trace: str, page: str | None) -> None:
    print("\n  how busy each worker was during the first run\n")
    with open(trace, encoding="utf-8") as lines:
        for line in lanes_of(events_of(lines), _TIMELINE):
            print(line)
    print("\n  To watch the pool while it runs: WOOLEXEC_DASHBOARD=1 woolexec demo prints the address of a page.")
    if page is None:
        print("  To see each task: woolexec demo --timeline demo.html, and open that file in a browser.")
    else:
        print(f"  To see each task, open {page} in a browser.")


def _timed(
    name: str, make_pool: Callable[[], Executor] | None, root: Path, files: list[str], trace: str | None = None
) -> tuple[list[Measures], Timing]:
    started = time.perf_counter()
    with Progress(name, len(files)) as progress:
        if make_pool is None:
            progress.waits = False
            measures = list(progress.watch(map(measure, [str(root)] * len(files), files)))
        else:
            with (
                make_pool() as pool,
                pool.trace(trace) if isinstance(pool, PeerPoolExecutor) and trace else nullcontext(),
            ):
                # Closed after an interrupt too, which cancels the tasks that have not been started.
                outcomes = pool.map(measure, [str(root)] * len(files), files)
                with closing(outcomes):  # type: ignore[type-var]  # typeshed says Iterator; map returns a generator
                    measures = list(progress.watch(outcomes))
    return measures, Timing(name, time.perf_counter() - started)


def _leave_interrupts_to_the_parent() -> None:
    """Ignore Ctrl-C, so that the standard library's workers do not print a traceback each; woolexec's print none."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)


class Progress:
    """A progress bar on a terminal; elsewhere, one line per run."""

    WIDTH = 32
    EVERY = 0.05

    def __init__(self, name: str, total: int, stream: TextIO | None = None) -> None:
        self._name = name
        self._total = total
        self._stream = stream or sys.stderr
        self._tty = self._stream.isatty()
        self._drawn = 0.0
        self._started = time.perf_counter()
        self._interrupted = False
        self.waits = True
        self._handler: Any = None

    def __enter__(self) -> Self:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            self._handler = signal.signal(signal.SIGINT, self._interrupt)
        if self._tty:
            self._draw(0)
        return self

    def _interrupt(self, *_: object) -> None:
        # Python ignores an exception that is raised while a generator or an object is being destroyed.  If the work is
        # done in this process, `watch` checks for an interrupt after each item; if it waits for a pool, raising here
        # ends the wait.
        self._interrupted = True
        if self.waits:
            raise KeyboardInterrupt

    def __exit__(self, *_: object) -> None:
        if self._handler is not None:
            signal.signal(signal.SIGINT, self._handler)
        if self._tty:
            self._stream.write("\r\x1b[K")
            self._stream.flush()

    def watch(self, items: Iterable[Measures]) -> Iterator[Measures]:
        """Yield the items, and show how many have arrived."""
        done = 0
        for done, item in enumerate(items, 1):
            if self._interrupted:
                raise KeyboardInterrupt
            if self._tty and time.perf_counter() - self._drawn > self.EVERY:
                self._draw(done)
            yield item
        if not self._tty:
            seconds = time.perf_counter() - self._started
            print(f"{self._name:<20} {done}/{self._total} files in {seconds:.2f} s", file=self._stream, flush=True)

    def _draw(self, done: int) -> None:
        self._drawn = time.perf_counter()
        filled = self.WIDTH * done // max(self._total, 1)
        bar = "#" * filled + "." * (self.WIDTH - filled)
        self._stream.write(f"\r{self._name:<20} [{bar}] {done}/{self._total} files")
        self._stream.flush()


# -- the output --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Report:
    """The results, and the time of each run."""

    root: str
    workers: int
    measures: list[Measures]
    timings: tuple[Timing, ...]
    agree: bool

    def longest(self) -> list[Function]:
        return sorted((one for file in self.measures for one in file.longest), key=by_length)[:SHOWN]

    def most_complex(self) -> list[Measures]:
        return sorted(self.measures, key=lambda file: (-file.complexity, file.file))[:SHOWN]

    def total(self, field: str) -> int:
        return sum(getattr(file, field) for file in self.measures)

    def unparsed(self) -> list[str]:
        return [file.file for file in self.measures if file.error is not None]

    def as_json(self) -> str:
        return json.dumps(
            {
                "python": platform.python_version(),
                "root": self.root,
                "workers": self.workers,
                "files": len(self.measures),
                "lines": self.total("lines"),
                "functions": self.total("functions"),
                "classes": self.total("classes"),
                "unparsed": self.unparsed(),
                "longest_functions": [
                    {"file": one.file, "line": one.line, "name": one.name, "lines": one.lines} for one in self.longest()
                ],
                "most_complex_files": [
                    {"file": file.file, "complexity": file.complexity} for file in self.most_complex()
                ],
                "seconds": {timing.name: round(timing.seconds, 3) for timing in self.timings},
                "agree": self.agree,
            },
            indent=2,
        )

    def as_table(self) -> str:
        return "\n".join([*self._counts(), "", *self._tops(), "", *self._times()])

    def _counts(self) -> Iterator[str]:
        yield f"Python {platform.python_version()}, standard library in {self.root}"
        yield ""
        for name, value in [
            ("files", len(self.measures)),
            ("lines", self.total("lines")),
            ("classes", self.total("classes")),
            ("functions", self.total("functions")),
        ]:
            yield f"  {name:<10} {value:>11,}"
        if unparsed := self.unparsed():
            yield f"  {'unparsed':<10} {len(unparsed):>11,}  (refused by the parser, for instance {unparsed[0]})"

    def _tops(self) -> Iterator[str]:
        yield f"  {'lines':>10}  longest functions"
        for one in self.longest():
            yield f"  {one.lines:>10,}  {one.name}  {one.file}:{one.line}"
        yield ""
        yield f"  {'complexity':>10}  most complex files"
        for file in self.most_complex():
            yield f"  {file.complexity:>10,}  {file.file}"

    def _times(self) -> Iterator[str]:
        ours = self.timings[0].seconds
        yield f"  {'seconds':>10}  {'ratio':>7}  the same job, {self.workers} workers"
        for timing in self.timings:
            yield f"  {timing.seconds:>10.2f}  {timing.seconds / ours:>6.2f}x  {timing.name}"
        yield ""
        yield (
            "  The three results are equal." if self.agree else "  THE THREE RESULTS DIFFER: this is a bug in woolexec."
        )
