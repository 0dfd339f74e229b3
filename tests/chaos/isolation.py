"""
A run in separate namespaces for processes, mounts and network; it needs root or unprivileged user namespaces.

::

    python -m tests.chaos ...
      `-- unshare ... python -m tests.chaos.isolation ...     process 1: adopts and reaps orphans
            `-- python -m tests.chaos --isolated ...           the run

Within it /tmp and /dev/shm are small, so that they can be full, and belong to this run alone, as do all processes and
sockets: whatever is left when the run has ended was left by it.
"""

from __future__ import annotations

import contextlib
import functools
import os
import subprocess
import sys
import time
from pathlib import Path

SMALL = 32 << 20
"""Bytes of /tmp and of /dev/shm."""

SETTLE = 10.0
"""Seconds within which what the run has started must be gone after its end."""

FOLDERS = ("/tmp", "/dev/shm")
_UNSHARE = ["unshare", "--mount", "--pid", "--net", "--ipc", "--fork", "--kill-child", "--mount-proc"]
_MOUNT = " && ".join(f"mount -t tmpfs -o size=$0 chaos {folder}" for folder in FOLDERS)
_PROGRAM = f"{_MOUNT} && ip link set lo up && exec "


def is_small(folder: str) -> bool:
    """Return whether a folder may be filled: its file system is one that was made for a run."""
    system = os.statvfs(folder)
    return system.f_frsize * system.f_blocks <= SMALL


@functools.cache
def prefix() -> tuple[list[str], str]:
    """Return the command that runs another in such namespaces, and why there is none."""
    for path in (sys.prefix, sys.base_prefix, os.getcwd()):
        if any(Path(path).resolve().is_relative_to(folder) for folder in FOLDERS):
            return [], f"a run has a /tmp and a /dev/shm of its own, and needs {path}"
    why = ""
    for unshare in (_UNSHARE, [*_UNSHARE, "--map-root-user"]):
        command = [*unshare, "sh", "-c", _PROGRAM + '"$@"', str(SMALL)]
        try:
            ran = subprocess.run([*command, "true"], capture_output=True, text=True, timeout=20, check=False)
        except (OSError, subprocess.TimeoutExpired) as exc:
            return [], str(exc)
        if ran.returncode == 0:
            return command, ""
        why = ran.stderr.strip()
    return [], why


def run_isolated(arguments: list[str]) -> int:
    """Run ``python -m tests.chaos`` with these arguments in namespaces of its own; return its exit code."""
    command, why = prefix()
    assert not why
    return subprocess.run([*command, sys.executable, "-m", "tests.chaos.isolation", *arguments], check=False).returncode


def main(arguments: list[str]) -> int:
    """Be the first process: start the run, reap orphans, and name what the run leaves."""
    pid = os.spawnv(os.P_NOWAIT, sys.executable, [sys.executable, "-m", "tests.chaos", "--isolated", *arguments])
    code = 1
    while True:
        ended, status = os.wait()
        if ended == pid:
            code = os.waitstatus_to_exitcode(status)
            break
    left = _left()
    deadline = time.monotonic() + SETTLE
    while left and time.monotonic() < deadline:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(-1, os.WNOHANG)
        time.sleep(0.02)
        left = _left()
    for text in left:
        print(f"left behind: {text}", flush=True)
    return code or int(bool(left))


def _left() -> list[str]:
    """Name the processes but this one, the listening sockets, and the files in /tmp and /dev/shm."""
    found = [f"process {path.name}: {_command(path)}" for path in Path("/proc").glob("[0-9]*") if path.name != "1"]
    for kind in ("tcp", "tcp6"):
        lines = Path(f"/proc/net/{kind}").read_text().splitlines()[1:]
        found += [f"{kind} socket at {line.split()[1]}" for line in lines if line.split()[3] == _LISTEN]
    return found + [str(path) for folder in FOLDERS for path in Path(folder).iterdir()]


def _command(folder: Path) -> str:
    with contextlib.suppress(OSError):
        return (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")[:200]
    return "(ended)"


_LISTEN = "0A"


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
