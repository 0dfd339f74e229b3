"""
Choose the executor under test.

It is `woolexec.PeerPoolExecutor`, or what the environment variable `WOOLEXEC_CONFORMANCE_EXECUTOR` names as
`module:Class`: with `concurrent.futures:ProcessPoolExecutor` the same tests show what the stdlib does.
"""

import importlib
import os
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

DEFAULT = "woolexec:PeerPoolExecutor"
SPELLING = os.environ.get("WOOLEXEC_CONFORMANCE_EXECUTOR", DEFAULT)
MODULE, _, NAME = SPELLING.partition(":")
IS_OURS = SPELLING == DEFAULT

# Built at run time: the tests run against any executor, so no static type is nearer than Any.
Subject: Any = getattr(importlib.import_module(MODULE), NAME)

# A watchdog for waits that should be short; a hang is a failure, not a wait.
SOON = 20.0


def python_path() -> str:
    """Return a PYTHONPATH under which a new interpreter finds what this one found."""
    package = Path(str(importlib.import_module(MODULE.partition(".")[0]).__file__)).resolve().parent
    stdlib = Path(str(os.__file__)).resolve().parent
    entries = [str(package.parent)] if stdlib not in (package, *package.parents) else []
    return os.pathsep.join([*entries, *filter(None, [os.environ.get("PYTHONPATH")])])


def run_script(source: str, *, timeout: float = SOON) -> subprocess.CompletedProcess[str]:
    """Run `source`, with `Executor` bound to the executor under test, in a new interpreter."""
    header = f"from {MODULE} import {NAME} as Executor\n"
    return subprocess.run(
        [sys.executable, "-c", header + textwrap.dedent(source)],
        env={**os.environ, "PYTHONPATH": python_path()},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=timeout,
        check=False,
    )
