"""
Rounds: every contender once, each in a process of its own, then again in another order.

Alternating spreads what else the machine does over all contenders alike; a fresh process leaves no heap, thread or
import of one contender to the next, and a contender that hangs or crashes costs only its own figure.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from .bystanders import DISTURBED, Bystanders

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from .contenders import Contender
    from .workloads.workload import Sample, Size, Workload

ROOT = Path(__file__).resolve().parents[2]
ERROR_TAIL = 6_000


class ProbeError(Exception):
    """A contender did not finish its probe: the first line says how, the rest is what it printed."""


@dataclass(slots=True)
class Measured:
    """
    The samples of a workload.

    `figures[contender][figure]` holds one number a round, `failed` why there is none, and `bystanders` the share of
    the processors that other programs took in each round.
    """

    size: Size
    figures: dict[str, dict[str, list[float]]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)
    bystanders: list[float] = field(default_factory=list)

    def keep(self, contender: str, sample: Sample) -> None:
        """Add the sample of one round."""
        figures = self.figures.setdefault(contender, {})
        for name, value in sample.items():
            figures.setdefault(name, []).append(value)

    def fail(self, contender: str, why: str) -> None:
        """Leave the contender out of this and all other rounds."""
        self.failed[contender] = why
        self.figures.pop(contender, None)


def measure(
    workload: Workload,
    contenders: Sequence[Contender],
    *,
    rounds: int,
    retakes: int,
    report: Callable[[str], None],
) -> Measured:
    """
    Probe each contender once a round; the one that begins changes from round to round.

    :param retakes: how often a round is taken again in which other programs were busy; the last one counts anyway
    """
    try:
        size = workload.tune(workload.size, lambda contender, tried: probe(workload, contender, tried))
    except ProbeError as exc:
        return Measured(workload.size, failed={contender.name: f"tuning: {exc}" for contender in contenders})
    measured = Measured(size)
    for number in range(rounds):
        for again in range(retakes + 1):
            report(f"round {number + 1}/{rounds}" + (f", take {again + 1}" if again else ""))
            bystanders = Bystanders()
            samples = take_round(workload, rotated(contenders, number), measured)
            share = bystanders.share()
            if share is None or share <= DISTURBED:
                break
        for contender, sample in samples.items():
            measured.keep(contender, sample)
        if share is not None:
            measured.bystanders.append(share)
    return measured


def take_round(workload: Workload, contenders: Iterable[Contender], measured: Measured) -> dict[str, Sample]:
    """Probe each contender that has not failed yet; who fails now is left out from here on."""
    samples: dict[str, Sample] = {}
    for contender in contenders:
        if contender.name in measured.failed:
            continue
        try:
            samples[contender.name] = probe(workload, contender.name, measured.size)
        except ProbeError as exc:
            measured.fail(contender.name, str(exc))
    return samples


def rotated(contenders: Sequence[Contender], by: int) -> Iterable[Contender]:
    """Return them all, beginning with another one."""
    start = by % len(contenders)
    return (*contenders[start:], *contenders[:start])


def probe(workload: Workload, contender: str, size: Size) -> Sample:
    """
    Take one sample in a fresh process.

    :raises ProbeError: if it fails, hangs or answers nothing
    """
    asked = {"workload": workload.name, "contender": contender, "size": size, "stacks_after": 0.8 * workload.timeout}
    # A session of its own, so that a hang can be ended with all that it has started.
    child = subprocess.Popen(
        [sys.executable, "-m", f"{__package__}.probe", json.dumps(asked)],
        cwd=ROOT,
        env=environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        out, err = child.communicate(timeout=workload.timeout)
    except subprocess.TimeoutExpired:
        end_session(child)
        _, err = child.communicate()
        raise ProbeError(f"no answer within {workload.timeout:g} s\n{err[-ERROR_TAIL:]}") from None
    except BaseException:
        end_session(child)
        raise
    if child.returncode != 0:
        last = err.strip().rpartition("\n")[2]
        raise ProbeError(f"exit code {child.returncode}: {last}\n{err[-ERROR_TAIL:]}")
    try:
        sample: Sample = json.loads(out.splitlines()[-1])
    except (IndexError, ValueError):
        raise ProbeError(f"answered no sample\n{out[-ERROR_TAIL:]}") from None
    return sample


def environment() -> dict[str, str]:
    """Return an activated virtual environment's: some contenders start their workers as commands of their own."""
    variables = dict(os.environ)
    variables.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package is compiled; the standard library always is
    variables["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), variables.get("PATH", os.defpath)])
    variables["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), variables.get("PYTHONPATH")]))
    return variables


def end_session(child: subprocess.Popen[str]) -> None:
    """Kill a probe and the workers in its session; workers in another one see its socket close."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()
