"""
One run: steps from a seed until the time is up, then everything is checked.

1. Until the time is up: draw a step, let its action act, look at the clock for what is overdue.
2. Every call gets the time that it may take to end.
3. The pool is shut down, and must end in time.
4. Outcomes are compared with starts, sizes with earlier sizes, and what is there with what was there before.
"""

from __future__ import annotations

import faulthandler
import gc
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from random import Random

from tests.chaos import plan
from tests.chaos.leftovers import Before, Sizes
from tests.chaos.world import OUTSTANDING, World

PAUSE = 0.02
"""Mean seconds between two steps."""

LOOK = 0.005
"""Seconds between two looks while too many calls are outstanding."""


class Failed(Exception):
    """A promise was broken; the text names the seed, the step, what was found and the last steps."""


def run(make: Callable[[Path], World], folder: Path, *, seconds: float, seed: int) -> str:
    """
    Run for so many seconds.

    :return: what was done, for people to read
    :raises Failed: if a promise was broken
    """
    before = Before()
    history = plan.History(time.monotonic)
    world = make(folder)
    sizes = Sizes(world.pids)
    faults: list[str] = []
    try:
        with world:
            _act(world, history, sizes, seconds=seconds, seed=seed)
            began = time.monotonic()
        ended = time.monotonic() - began
        if ended > world.bound:
            faults.append(f"shutdown took {ended:.0f} s")
    except Failed as exc:
        faults += exc.args
    except Exception as exc:
        faults += [f"step {history.last} raised {exc!r}", traceback.format_exc()]
    faults += world.ledger.faults(world.starts()) + sizes.faults()
    summary = f"{world.ledger.accepted} calls in {history.last} steps\n{_table(world)}\n{sizes}"
    del world
    gc.collect()
    faults += before.left()
    if faults:
        told = "\n  ".join(faults)
        text = f"seed {seed}, step {history.last}:\n  {told}\nthe last steps:\n{history}\n{summary}"
        raise Failed(text)
    return summary


def _act(world: World, history: plan.History, sizes: Sizes, *, seconds: float, seed: int) -> None:
    end = time.monotonic() + seconds
    for step in plan.steps(seed, plan.weights_of(type(world))):
        dice = step.dice()
        pause = dice.expovariate(1 / PAUSE)
        history.add(step, _told(world, step.action, dice))
        resume = time.monotonic() + pause
        while time.monotonic() < resume or world.ledger.pending > OUTSTANDING:
            _look(world, sizes)
        _look(world, sizes)
        if time.monotonic() > end:
            break
    while world.ledger.pending:
        _look(world, sizes)


def _told(world: World, action: str, dice: Random) -> object:
    try:
        return getattr(world, action)(dice)
    except OSError:
        if not world.ledger.is_short:
            raise
        return "not now: it takes a descriptor"


def _look(world: World, sizes: Sizes) -> None:
    time.sleep(LOOK)
    world.do_what_is_due()
    if not world.ledger.is_short:  # a look takes descriptors
        sizes.look()
    overdue = world.ledger.overdue(world.bound)
    if overdue:
        faulthandler.dump_traceback(sys.__stderr__, all_threads=True)
        raise Failed(*overdue[:10], f"threads: {[thread.name for thread in threading.enumerate()]}")
    if world.ledger.wrong:
        raise Failed


def _table(world: World) -> str:
    return "\n".join(f"  {count:7} {what}" for what, count in sorted(world.ledger.counts.items()))
