"""How long a program waits for its first result, in a fresh process."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
from typing import TYPE_CHECKING

from tests.bench.goals import Figure, Goal

from .workload import Sample, Workload

if TYPE_CHECKING:
    from tests.bench.contenders import Contender, FirstResult


def first_result(contender: Contender, *, programs: int) -> Sample:
    """Run the contender's lines in interpreters that have loaded nothing else; milliseconds, the medians of so many."""
    lines = contender.first_result
    if lines is None:
        raise ValueError(f"{contender.name} says not how its first result comes")
    samples = [in_fresh_program("first_result", lines) for _ in range(programs)]
    return {name: statistics.median(sample[name] for sample in samples) for name in samples[0]}


def in_fresh_program(script: str, lines: FirstResult) -> Sample:
    """Run lines with a script of this package in an interpreter of its own."""
    command = ["-m", f"tests.bench.{script}", lines.imports, lines.construct, lines.result, lines.close]
    # Compiled modules are kept, as they are where packages are installed.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": ""}
    done = subprocess.run(
        [sys.executable, *command], capture_output=True, text=True, timeout=60, check=False, env=environment
    )
    if done.returncode != 0:
        raise RuntimeError(f"exit code {done.returncode}: {done.stderr.strip()[-500:]}")
    sample: Sample = json.loads(done.stdout.splitlines()[-1])
    return sample


START = Workload(
    name="start",
    probe=first_result,
    figures=(
        Figure(
            "pool",
            "pool made to first result (stdlib: spawn)",
            "ms",
            "lower",
            target=(Goal(0.45, "stdlib-spawn"),),
            moonshot=(Goal(0.35, "stdlib-spawn"),),
            reference="stdlib-spawn",
        ),
        Figure(
            "import",
            "the same with its import (stdlib: spawn)",
            "ms",
            "lower",
            target=(Goal(1, "stdlib-spawn"),),
            moonshot=(Goal(0.5, "stdlib-spawn"),),
            reference="stdlib-spawn",
        ),
        Figure(
            "imported",
            "import of the pool's class",
            "ms",
            "lower",
            target=(Goal(1.3),),
            moonshot=(Goal(1),),
        ),
    ),
    size={"programs": 7},
    quick={"programs": 1},
    contenders=("woolexec", "stdlib", "stdlib-spawn", "stdlib-fork", "stdlib-forkserver"),
)
