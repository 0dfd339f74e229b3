"""The command line of the benchmark: `python -m tests.bench --help`."""

from __future__ import annotations

import argparse
import fnmatch
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import contenders, machine, report
from .chart import chart
from .claims import claims
from .contenders import CONTENDERS, Contender
from .goals import OURS
from .measure import ROOT, Measured, measure
from .workloads import WORKLOADS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from .workloads.workload import Workload

DEFAULT_JSON = Path("build/bench.json")
PAGES = {ROOT / "README.md": claims, ROOT / "docs/benchmarks.md": report.markdown}
CHART = ROOT / "docs/benchmarks.svg"


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what was asked for; the exit code says whether everything ran, never whether it was fast."""
    options = parse(arguments)
    if options.list:
        print(report.known())
        return 0
    if options.markdown:
        return write_markdown(options.json)
    result = run(options)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(result, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    print(report.table(result))
    print(f"written to {options.json}")
    return 1 if any({OURS, "stdlib"} & row["failed"].keys() for row in result["rows"]) else 0


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench", description="Measure woolexec against the stdlib.")
    parser.add_argument("--rounds", type=int, help="samples of each contender (default 5, quick 1)")
    parser.add_argument(
        "--retakes", type=int, help="how often to repeat a round while other programs are busy (default 2, quick 0)"
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="these workloads alone; patterns such as 'map*'"
    )
    parser.add_argument(
        "--quick", action="store_true", help="few items, one round: shows that it runs, measures nothing"
    )
    parser.add_argument("--peers-lib", action="store_true", help="add other libraries where installed: loky, Ray, ...")
    parser.add_argument("--json", type=Path, default=DEFAULT_JSON, metavar="PATH", help=f"default {DEFAULT_JSON}")
    parser.add_argument("--markdown", action="store_true", help="write what the JSON file says into README and docs")
    parser.add_argument("--list", action="store_true", help="name the workloads")
    parser.add_argument(
        "--ours", default=OURS, metavar="NAME", help="let another contender pose as ours, to try the harness"
    )
    options = parser.parse_args(arguments)
    options.rounds = options.rounds or (1 if options.quick else 5)
    if options.retakes is None:
        options.retakes = 0 if options.quick else 2
    if options.rounds < 1:
        parser.error("--rounds must be at least 1")
    try:
        contenders.named(options.ours)
        options.workloads = chosen(options.only)
    except ValueError as exc:
        parser.error(str(exc))
    return options


def chosen(patterns: Sequence[str] | None) -> list[Workload]:
    """Return the workloads that a pattern names, in the table's order."""
    for pattern in patterns or ():
        if not any(fnmatch.fnmatch(each.name, pattern) for each in WORKLOADS):
            raise ValueError(f"no workload {pattern!r}; there are: {', '.join(each.name for each in WORKLOADS)}")
    return [each for each in WORKLOADS if not patterns or any(fnmatch.fnmatch(each.name, one) for one in patterns)]


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure the chosen workloads, one after the other."""
    present, skipped = taking_part(options.ours, with_libraries=options.peers_lib)
    facts, begin = machine.facts(), machine.load()
    rows: list[dict[str, Any]] = []
    for workload in options.workloads:
        reason = workload.missing()
        if reason is not None:
            skipped[workload.name] = reason
            continue
        begun = time.monotonic()
        measured = measure_one(workload, present, options)
        say(f"{workload.name:14} {time.monotonic() - begun:6.1f} s", end="\n")
        rows += report.rows_of(workload, measured)
    return {
        "schema": report.SCHEMA,
        **facts,
        "load": {"begin": begin, "end": machine.load()},
        "rounds": options.rounds,
        "quick": options.quick,
        "posing": None if options.ours == OURS else options.ours,
        "contenders": {each.name: each.version() for each in present},
        "skipped": skipped,
        "rows": rows,
    }


def taking_part(ours: str, *, with_libraries: bool) -> tuple[list[Contender], dict[str, str]]:
    """Return who is here, and for who is not the reason."""
    present, skipped = [], {}
    for contender in CONTENDERS:
        if contender.optional and not with_libraries:
            continue
        reason = contender.missing()
        if contender.name == OURS and ours != OURS:
            reason = f"{ours} poses as it"
        if reason is None:
            present.append(contender)
        else:
            skipped[contender.name] = reason
            say(f"skipped {contender.name}: {reason}", end="\n")
    return present, skipped


def measure_one(workload: Workload, present: Sequence[Contender], options: argparse.Namespace) -> Measured:
    """Measure one workload with those of its contenders that are here."""
    if options.quick:
        workload = workload.quickened()
    joins = {each.name for each in present if each.optional and each.is_general} if workload.libraries else set()
    racing = [each for each in present if each.name in workload.contenders or each.name in joins]
    if not racing:  # somebody poses as ours where only ours takes part
        return Measured(workload.size)
    measured = measure(
        workload,
        racing,
        rounds=options.rounds,
        retakes=options.retakes,
        report=lambda stage: say(f"{workload.name:14} {stage}"),
    )
    if options.ours != OURS and options.ours in measured.figures:
        measured.figures[OURS] = measured.figures[options.ours]
    return measured


def write_markdown(source: Path) -> int:
    """Render a finished run: its table on standard output, and all that README and docs have a place for."""
    result = json.loads(source.read_text(encoding="utf-8"))
    print(report.markdown(result))
    for page, render in PAGES.items():
        changed = report.put_between_markers(page, render(result))
        say(f"{page.relative_to(ROOT)}: {'written' if changed else 'no bench markers, left alone'}", end="\n")
    CHART.write_text(chart(result), encoding="utf-8")
    say(f"{CHART.relative_to(ROOT)}: written", end="\n")
    return 0


def say(text: str, *, end: str = "") -> None:
    """Tell on standard error how far it has come; without an end only on a terminal, where the next line covers it."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{text}{end}")
    elif end:
        sys.stderr.write(text + end)
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())
