"""Runs of chaos: ``python -m tests.chaos local --seconds 300 --seed 7``."""

from __future__ import annotations

import argparse
import contextlib
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from tests.chaos.local import Local
from tests.chaos.mesh import Mesh
from tests.chaos.run import Failed, run

WORLDS = {"local": Local, "mesh": Mesh}

DESCRIPTORS = 256
"""Number of descriptors that the client may have."""


def main(arguments: list[str] | None = None) -> int:
    """Run, print what came of it, and return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("worlds", nargs="*", metavar="WORLD", default=list(WORLDS), help=", ".join(WORLDS))
    parser.add_argument("--seconds", type=float, default=60.0, help="how long each world runs (default: 60)")
    parser.add_argument("--seed", type=int, default=None, help="fixes actions and their order (default: the time)")
    options = parser.parse_args(arguments)
    seed = int(time.time()) if options.seed is None else options.seed
    resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    failed = False
    for name in options.worlds:
        print(f"== {name}, seed {seed}, {options.seconds:g} s", flush=True)
        try:
            with _folder() as folder:
                print(run(WORLDS[name], folder, seconds=options.seconds, seed=seed), flush=True)
        except Failed as exc:
            print(f"{exc}\n== failed; once more: make chaos WORLDS={name} SECONDS={options.seconds:g} SEED={seed}")
            failed = True
    return int(failed)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """Make a folder that is the only place for temporary files, not shared with other programs."""
    with tempfile.TemporaryDirectory(prefix="chaos-") as folder:
        temporary = Path(folder, "tmp")
        temporary.mkdir()
        os.environ["WOOLEXEC_STATE"] = str(temporary / "state")
        os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
        try:
            yield Path(folder)
        finally:
            tempfile.tempdir = None
            del os.environ["TMPDIR"], os.environ["WOOLEXEC_STATE"]


if __name__ == "__main__":
    sys.exit(main())
