"""
Peers that are jobs of Slurm: ``slurm://?max=16&partition=short``.

::

    start(n) --> sbatch --array=0-(n-1): n jobs, each a peer          one request for any number
    watch()  <-- squeue                                               one query for all jobs, at most one a second
    stop(h)  --> scancel --signal=TERM: the peer drains, and its job ends

A job that is about to reach its time limit gets SIGTERM too, so its peer drains first.  A preempted job gets SIGTERM
from this launcher: Slurm sends it only to job steps, and the peer is not one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from woolexec.errors import DiscoveryError
from woolexec.launchers.batch import Batch, State, command
from woolexec.launchers.urls import BATCH, options_of

_OVER = {
    "BOOT_FAIL",
    "CANCELLED",
    "COMPLETED",
    "DEADLINE",
    "FAILED",
    "NODE_FAIL",
    "OUT_OF_MEMORY",
    "PREEMPTED",
    "REVOKED",
    "TIMEOUT",
}
"""States in which a job has ended; see squeue(1)."""

_WELL = {"COMPLETED", "PREEMPTED"}

_WAITING = {"PENDING", "REQUEUED", "REQUEUE_FED", "REQUEUE_HOLD", "SPECIAL_EXIT"}

_NEVER = re.compile(
    r"PartitionConfig|PartitionNodeLimit|PartitionTimeLimit|BadConstraints|InvalidAccount|InvalidQOS"
    r"|(Account|QOS)NotAllowed|(Assoc|QOS)Max\w+PerJob\w*"
)
"""Reasons why a job waits that does not fit the cluster: it would start only after an administrator's change."""

_REFUSED = re.compile(
    r"invalid (?!.*credential)|configuration is not available|can ?not be satisfied|unrecognized option|not permitted",
    re.IGNORECASE,
)
"""Messages of sbatch about a job that it would never accept."""

_FORMAT = "JobArrayID:|,State:|,Reason:|,NodeList:|,PreemptTime:|"
"""The fields that squeue prints; the last one is a date once the job has been chosen for preemption."""

_GPU = re.compile(r"(?:gres/)?gpu(?::[a-zA-Z][\w.-]*)?(?::(\d+))?")

_NUMBER = re.compile(r"(\d+)(?:;(\S+))?")
"""The output of ``sbatch --parsable``: the number of a job, and the cluster if there are several."""

_QUIET = ("SQUEUE_", "SCANCEL_")
"""Prefixes of the environment variables that change what these commands print and find."""

_BEFORE_THE_LIMIT = 60
"""Seconds before its time limit at which a peer begins to drain."""


_HEAD = """#!/usr/bin/env bash
PEER_JOB="${SLURM_ARRAY_JOB_ID}_$SLURM_ARRAY_TASK_ID"
PEER_WORKERS="$SLURM_CPUS_ON_NODE"
"""
"""
The beginning of a job's script.  It needs bash, because ``module`` is a shell function that only bash inherits.  It
sets the number of workers, because not every cluster keeps jobs from using more CPUs than they have.
"""


class Slurm(Batch):
    """
    Jobs of Slurm, each with one peer.

    :param partition: the partition; None: the default one
    :param time: the time limit of a job, as sbatch takes it: ``"1:00:00"``; None: that of the partition
    :param gres: generic resources of a job, as sbatch takes them: ``"gpu:2"``; GPUs are a resource of the peer too
    :param sbatch: further arguments of sbatch: ``["--account=physics"]``
    :param options: those of `Batch`
    """

    kind: ClassVar[str] = "slurm"

    def __init__(
        self,
        *,
        partition: str | None = None,
        time: str | None = None,
        gres: str | None = None,
        sbatch: Iterable[str] = (),
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self.partition, self.time, self.gres = partition, time, gres
        self.sbatch = tuple(sbatch)
        self._unfit = ""  # why a job will never start
        self._clusters: dict[str, str] = {}  # by job number: the cluster, if it is not the default one

    @classmethod
    def from_url(cls, url: str) -> Slurm:
        """
        Create a launcher from a URL such as ``slurm://?max=16&partition=short&sbatch=--account=physics``.

        :raises ValueError: if it is invalid
        """
        parts = urlsplit(url)
        if parts.netloc or parts.path.strip("/"):
            raise ValueError("slurm:// takes only options, such as slurm://?max=16&partition=short")
        kinds: dict[str, Callable[[str], Any]] = {
            **BATCH,
            "partition": str,
            "time": str,
            "gres": str,
            "sbatch": str.split,
        }
        return cls(**options_of(parts, kinds))

    def __str__(self) -> str:
        return f"slurm://{f'?partition={self.partition}' if self.partition else ''}"

    def serve_options(self) -> Iterable[str]:
        """Return the GPUs as a resource of the peer."""
        for each in (self.gres or "").split(","):
            if found := _GPU.fullmatch(each):
                yield f"--resource=gpu={found[1] or 1}"

    async def submit(self, count: int, script: str, name: str, logs: Path) -> Sequence[str]:
        """Submit an array of jobs."""
        if self._unfit:
            error = DiscoveryError(f"slurm: such a job never starts: {self._unfit}")
            error.is_final, self._unfit = True, ""  # tried again when other tasks arrive
            raise error
        given = {"partition": self.partition, "time": self.time, "gres": self.gres, "cpus-per-task": self.workers}
        options = [f"--{option}={value}" for option, value in given.items() if value is not None]
        words = [
            "sbatch",
            "--parsable",
            f"--array=0-{count - 1}",
            f"--job-name={name}",
            f"--output={logs}/%A_%a",
            "--no-requeue",  # a preempted job ends, and a new one is submitted if it is needed
            "--nodes=1",
            "--ntasks=1",
            f"--signal=B:TERM@{_BEFORE_THE_LIMIT}",
            *options,
            *self.sbatch,
        ]
        try:
            said = await command(*words, stdin=f"{_HEAD}{script}")
        except DiscoveryError as exc:
            exc.is_final = exc.is_final or bool(_REFUSED.search(str(exc)))
            raise
        # At some sites it also prints a greeting.
        found = [match for line in said.splitlines() if (match := _NUMBER.fullmatch(line.strip()))]
        if not found:
            raise DiscoveryError(f"sbatch: expected the number of a job, and got {said!r}")
        number, cluster = found[-1].groups()
        if cluster:
            self._clusters[number] = cluster
        return [f"{number}_{index}" for index in range(count)]

    async def states(self, keys: Sequence[str], name: str) -> Mapping[str, State]:
        """Return the states that squeue prints."""
        words = ["--noheader", "--array", "--states=all", f"--name={name}", f"--Format={_FORMAT}"]
        clusters = {self._clusters.get(_number_of(key), "") for key in keys}
        words += [f"--clusters={','.join(sorted(clusters))}"] if clusters != {""} else []
        found = {}
        for line in (await command("squeue", "--me", *words, without=_QUIET)).splitlines():
            key, state, reason, node, preempted = (*line.split("|", 4), "", "", "", "")[:5]
            why = f" ({reason})" if reason not in ("", "None") else ""
            where = f" on {node}" if node else ""
            is_over = state in _OVER
            if state == "PENDING" and _NEVER.fullmatch(reason):
                self._unfit, is_over = f"{state}{why}", True
                await command("scancel", *self._where(_number_of(key)), key, without=_QUIET)
            found[key] = State(
                is_over,
                is_over and state not in _WELL,
                f"{state}{why}{where}",
                is_leaving=preempted[:1].isdecimal(),
                is_waiting=state in _WAITING,
            )
        return found

    async def drain(self, key: str) -> None:
        """Send SIGTERM to a running job; cancel a waiting one."""
        where = self._where(_number_of(key))
        await command("scancel", *where, "--state=PENDING", key, without=_QUIET)
        await command("scancel", *where, "--signal=TERM", "--batch", key, without=_QUIET)

    async def cancel(self, keys: Sequence[str]) -> None:
        """Cancel jobs in any state."""
        numbers: dict[tuple[str, ...], dict[str, None]] = {}
        for number in map(_number_of, keys):
            numbers.setdefault(self._where(number), {})[number] = None
        for where, those in numbers.items():
            await command("scancel", *where, *those, without=_QUIET)

    def _where(self, number: str) -> tuple[str, ...]:
        """Return the arguments of scancel that name a job's cluster."""
        cluster = self._clusters.get(number)
        return () if cluster is None else (f"--clusters={cluster}",)


def _number_of(key: str) -> str:
    """Return the number of a job's array."""
    return key.partition("_")[0]
