"""
How long a program waits for its first result on an engine that hands out machines: `python -m tests.bench.engines`.

Each contender is a fresh program on the same engine, which runs on this machine: a real Slurm, a Ray of one node, an
MPI of two ranks.  The clock runs from before the pool is made to the first result; imports are not counted.  What is
not installed is named.  Ours should take at most a second more than the fastest.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import re
import secrets
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.launchers import slurm_cluster

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TIMEOUT = 180.0
SLACK = 1.0
"""Seconds that ours may take more than the fastest."""

CLOCK = """
import os, sys, time
if __name__ == "__main__":
    {imports}
    begun = time.perf_counter()
    pool = {construct}
    assert {result} == 1
    took = time.perf_counter() - begun
    {close}
    print("took", took)
"""


@dataclass(frozen=True, slots=True)
class Program:
    """
    A contender on an engine.

    :param needs: the modules without which it is left out
    :param command: what runs its file; empty: the interpreter
    """

    engine: str
    name: str
    needs: tuple[str, ...]
    imports: str
    construct: str
    result: str
    close: str
    command: tuple[str, ...] = ()

    def missing(self) -> str:
        """Return what it needs and has not; empty if nothing."""
        return ", ".join(name for name in self.needs if importlib.util.find_spec(name) is None)

    def run(self, folder: Path, environment: Mapping[str, str]) -> float:
        """Run it, and return the seconds."""
        file = folder / "main.py"
        parts = {"imports": self.imports, "construct": self.construct, "result": self.result, "close": self.close}
        file.write_text(CLOCK.format(**parts))
        words = [*(self.command or (sys.executable,)), str(file)]
        # What the engine leaves behind may hold a pipe open: a file does not keep anybody waiting.
        with open(folder / "said", "w+b") as said:
            done = subprocess.run(
                words,
                cwd=folder,
                env={**os.environ, **environment},
                stdout=said,
                stderr=said,
                timeout=TIMEOUT,
                check=False,
            )
            said.seek(0)
            text = said.read().decode(errors="replace")
        found = [line for line in text.splitlines() if line.startswith("took ")]
        if done.returncode or not found:
            raise RuntimeError(f"{self.engine} with {self.name}: exit code {done.returncode}: {text[-1500:]}")
        return float(found[-1].split()[1])


FUTURE = "pool.submit(abs, -1).result()"
MPIEXEC = shutil.which("mpiexec", path=str(Path(sys.executable).parent)) or shutil.which("mpiexec") or "mpiexec"
RANKS = (MPIEXEC, "-n", "2", sys.executable, "-m")
OURS = "from woolexec import PeerPoolExecutor, launchers"

PROGRAMS = (
    Program(
        "slurm",
        "woolexec",
        (),
        OURS,
        "PeerPoolExecutor(peers='slurm://?max=1&workers=1&folder=' + os.getcwd())",
        FUTURE,
        "pool.shutdown()",
    ),
    Program(
        "slurm",
        "dask-jobqueue",
        ("dask_jobqueue",),
        "from dask_jobqueue import SLURMCluster; from distributed import Client",
        "Client(SLURMCluster(cores=1, processes=1, memory='512MB', job_mem='0', n_workers=1, "
        "log_directory=os.getcwd(), interface='lo', scheduler_options={'dashboard_address': None}))",
        FUTURE,
        "pool.cluster.close(); pool.close()",
    ),
    Program(
        "slurm",
        "submitit",
        ("submitit",),
        "import submitit",
        "submitit.SlurmExecutor(folder=os.getcwd())",
        FUTURE,
        "pass",
    ),
    Program(
        "slurm",
        "executorlib",
        ("executorlib", "h5py", "pysqa"),
        "from executorlib import SlurmClusterExecutor",
        "SlurmClusterExecutor(cache_directory=os.getcwd(), resource_dict={'partition': 'short'})",
        FUTURE,
        "pool.shutdown()",
    ),
    Program(
        "ray",
        "woolexec",
        ("ray",),
        f"import ray; {OURS}; ray.init('auto', log_to_driver=False)",
        "PeerPoolExecutor(peers=launchers.ray(workers=1))",
        FUTURE,
        "pool.shutdown(); ray.shutdown()",
    ),
    Program(
        "ray",
        "ray.remote",
        ("ray",),
        "import ray; ray.init('auto', log_to_driver=False)",
        "ray.remote(lambda: 1)",
        "ray.get(pool.remote())",
        "ray.shutdown()",
    ),
    Program(
        "mpi",
        "woolexec",
        ("mpi4py",),
        OURS,
        "PeerPoolExecutor(peers='mpi://')",
        FUTURE,
        "pool.shutdown()",
        (*RANKS, "woolexec.mpi"),
    ),
    Program(
        "mpi",
        "mpi4py.futures",
        ("mpi4py",),
        "from mpi4py.futures import MPIPoolExecutor",
        "MPIPoolExecutor()",
        FUTURE,
        "pool.shutdown()",
        (*RANKS, "mpi4py.futures"),
    ),
)


@contextlib.contextmanager
def slurm() -> Iterator[Mapping[str, str]]:
    """Run a Slurm."""
    with tempfile.TemporaryDirectory(prefix="slurm-") as folder, slurm_cluster.Cluster(folder) as made:
        yield {name: made.env[name] for name in ("SLURM_CONF", "PATH")}


@contextlib.contextmanager
def ray() -> Iterator[Mapping[str, str]]:
    """Run a Ray with one node."""
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32), "RAY_USAGE_STATS_ENABLED": "0"}
    with tempfile.TemporaryDirectory(prefix="ray-", dir="/tmp") as folder:
        command = [sys.executable, "-m", "ray.scripts.scripts"]
        start = [
            "start",
            "--head",
            "--node-ip-address=127.0.0.1",
            "--port=0",
            "--num-cpus=2",
            "--include-dashboard=false",
            f"--temp-dir={folder}",
            "--block",
        ]
        env = {**os.environ, **token}
        with subprocess.Popen([*command, *start], env=env, stdout=subprocess.PIPE, text=True) as process:
            assert process.stdout is not None
            named = (re.search(r"--address='([^']+)'", line) for line in process.stdout)
            address = next(match[1] for match in named if match)
            try:
                yield {"RAY_ADDRESS": address, **token}
            finally:
                process.terminate()


ENGINES = {"slurm": slurm, "ray": ray, "mpi": lambda: contextlib.nullcontext({})}


def missing(engine: str) -> str:
    """Return why an engine cannot run here; empty if it can."""
    if engine == "slurm":
        return ", ".join(slurm_cluster.missing())
    return "" if engine == "ray" or shutil.which(MPIEXEC) else "mpiexec"


def measure(engines: Sequence[str], rounds: int) -> dict[str, dict[str, list[float]]]:
    """Return the seconds of each contender in each round, by engine; the contenders alternate."""
    found: dict[str, dict[str, list[float]]] = {}
    for engine in engines:
        programs = [each for each in PROGRAMS if each.engine == engine]
        for absent in [missing(engine), *(each.missing() for each in programs)]:
            if absent:
                print(f"{engine}: not installed: {absent}", file=sys.stderr)
        programs = [each for each in programs if not each.missing()]
        if missing(engine) or not programs:
            continue
        with ENGINES[engine]() as environment:
            for number in range(rounds):
                for program in programs[number % len(programs) :] + programs[: number % len(programs)]:
                    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
                        took = program.run(Path(folder), environment)
                    found.setdefault(engine, {}).setdefault(program.name, []).append(took)
    return found


def table(found: Mapping[str, Mapping[str, Sequence[float]]]) -> str:
    """Return the medians as a table of Markdown."""
    lines = ["| engine | woolexec | others | verdict |", "| --- | ---: | --- | --- |"]
    for engine, times in found.items():
        medians = {name: statistics.median(seconds) for name, seconds in times.items()}
        ours = medians.pop("woolexec")
        ranked = sorted(medians.items(), key=lambda each: each[1])
        others = ", ".join(f"{name} {seconds:.2f} s" for name, seconds in ranked) or "-"
        verdict = "-" if not medians else "reached" if ours <= min(medians.values()) + SLACK else "missed"
        lines.append(f"| {engine} | {ours:.2f} s | {others} | {verdict} |")
    return "\n".join(lines)


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(prog="python -m tests.bench.engines", description="First results on engines.")
    parser.add_argument("engines", nargs="*", choices=[*ENGINES, []], help="default: all")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, default=Path("build/engines.json"), metavar="PATH")
    options = parser.parse_args(arguments)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # as installed: else each process compiles woolexec anew
    found = measure(options.engines or list(ENGINES), options.rounds)
    options.json.parent.mkdir(parents=True, exist_ok=True)
    options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    print(table(found))
    return 0


if __name__ == "__main__":
    sys.exit(main())
