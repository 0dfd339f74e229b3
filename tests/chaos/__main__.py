"""Runs of chaos: ``python -m tests.chaos local --seconds 300 --seed 7``."""

from __future__ import annotations

import argparse
import contextlib
import functools
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos import isolation
from tests.chaos.local import Local
from tests.chaos.mesh import Mesh
from tests.chaos.run import Failed, run

WORLDS = {"local": Local, "mesh": Mesh}

_OUTSIDE = "/var/tmp"
"""Where the notes of a run are, which must be written while /tmp is full."""

DESCRIPTORS = 256
"""Number of descriptors that the client may have."""


def main(arguments: list[str] | None = None) -> int:
    """Run, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", default=list(WORLDS), help=", ".join(WORLDS))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each world runs (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="fixes actions and their order (default: the time)")
    parser.add_argument("--isolated", action="store_true", help="we are in namespaces of our own: do not make any")
    options = parser.parse_args(arguments)
    seed = int(time.time()) if options.seed is None else options.seed
    if not options.isolated:
        if (why := isolation.prefix()[1]) == "":
            return isolation.run_isolated([*options.worlds, "--seconds", str(options.seconds), "--seed", str(seed)])
        print(f"no full disk, and what others leave may be taken for ours, for there are no namespaces here: {why}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    return max([_run(name, options.seconds, seed, is_isolated=options.isolated) for name in options.worlds])


def _run(name: str, seconds: float, seed: int, *, is_isolated: bool) -> int:
    print(f"== {name}, seed {seed}, {seconds:g} s", flush=True)
    try:
        with scratch() as folder:
            world = functools.partial(WORLDS[name], can_fill=is_isolated)
            print(run(world, folder, seconds=seconds, seed=seed), flush=True)
    except Failed as exc:
        print(f"{exc}\n== failed; once more: make chaos WORLDS={name} SECONDS={seconds:g} SEED={seed}", flush=True)
        return 1
    return 0


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Make a folder that is the only place for temporary files, not shared with other programs."""
    with (
        tempfile.TemporaryDirectory(prefix="chaos-", dir=_OUTSIDE) as folder,
        tempfile.TemporaryDirectory() as temporary,
    ):
        os.environ["WOOLEXEC_STATE"] = os.path.join(temporary, "state")
        os.environ["TMPDIR"] = tempfile.tempdir = temporary
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = None
            del os.environ["TMPDIR"], os.environ["WOOLEXEC_STATE"]


if __name__ == "__main__":
    sys.exit(main())
