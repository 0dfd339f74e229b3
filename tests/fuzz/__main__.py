"""Attack for a while: ``python -m tests.fuzz session link --seconds 600 --seed 7``."""

import argparse
import sys
import time
from random import Random

from tests.fuzz.targets import TARGETS

ROUND = 50
"""Cases between two checks."""


def run(name: str, seed: int, *, cases: int | None = None, seconds: float | None = None) -> int:
    """
    Attack a target.

    :param cases: how many cases
    :param seconds: instead of that, for how long
    :return: how many cases were run
    :raises AssertionError: if something was not as it must be, with a note that says how to run that case again
    """
    done, until = 0, None if seconds is None else time.monotonic() + seconds
    with TARGETS[name]() as target:
        while done != cases if until is None else time.monotonic() < until:
            try:
                target.case(Random(f"{name} {seed} {done}"))
                done += 1
                if done % ROUND == 0:
                    target.check()
            except BaseException as exc:
                exc.add_note(f"case {done} of {name}, seed {seed}")
                raise
        target.check()
    return done


def main(arguments: list[str] | None = None) -> int:
    """Attack each target, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", default=list(TARGETS), help=", ".join(TARGETS))
    parser.add_argument("--seconds", type=float, default=600.0, help="how long all of them take (default: 600)")
    parser.add_argument("--seed", type=int, default=None, help="fixes the cases (default: the time)")
    options = parser.parse_args(arguments)
    seed = int(time.time()) if options.seed is None else options.seed
    for name in options.targets:
        print(f"{name}, seed {seed} ...", end=" ", flush=True)
        print(run(name, seed, seconds=options.seconds / len(options.targets)), "cases", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
