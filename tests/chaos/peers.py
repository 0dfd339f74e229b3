"""Peers in separate processes, at a port that stays the same when a peer is replaced."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from tests.chaos.processes import send, size_of

START = 60.0
"""Seconds within which a peer must listen."""

DRAIN = 60.0
"""Seconds within which a peer must end that was told to."""


def free_port(host: str = "127.0.0.1") -> int:
    """Return a port that nothing listens at."""
    with socket.socket() as sock:
        sock.bind((host, 0))
        port: int = sock.getsockname()[1]
        return port


class Peer:
    """
    One place of the mesh: a process at a port, and the one after it.

    :param log: file to which all of them write
    :param arguments: more of ``woolexec serve``
    :param prefix: a command that runs the one that follows it
    """

    def __init__(
        self, log: Path, *, host: str = "127.0.0.1", arguments: Sequence[str] = (), prefix: Sequence[str] = ()
    ) -> None:
        self.host, self.port = host, free_port()
        self._command = [
            *prefix,
            sys.executable,
            "-m",
            "woolexec",
            "serve",
            "--bind",
            f"{host}:{self.port}",
            *arguments,
        ]
        self._log = log
        self.process = self._start()

    @property
    def pid(self) -> int:
        """The process id of the present one."""
        return self.process.pid

    def _start(self) -> subprocess.Popen[bytes]:
        with self._log.open("ab") as log:
            return subprocess.Popen(
                self._command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=log, env=dict(os.environ)
            )

    def replace(self) -> None:
        """Start another process in the place of one that has ended."""
        self.process.wait()
        self.process = self._start()

    def kill(self) -> None:
        """End the process at once, and start another."""
        send(self.pid, signal.SIGKILL)
        self.replace()

    @property
    def is_ready(self) -> bool:
        """Whether it listens."""
        with socket.socket() as sock:
            return sock.connect_ex((self.host, self.port)) == 0

    @property
    def is_running(self) -> bool:
        """Whether the process has not ended."""
        return self.process.poll() is None

    def close(self) -> int:
        """Have it drain and end; return its exit code."""
        send(self.pid, signal.SIGCONT)
        send(self.pid, signal.SIGTERM)
        try:
            return self.process.wait(DRAIN)
        finally:
            self.process.kill()
            self.process.wait()

    def wait_ready(self) -> None:
        """Wait until it listens."""
        deadline = time.monotonic() + START
        while not self.is_ready:
            if time.monotonic() > deadline or size_of(self.pid) is None:
                raise TimeoutError(f"the peer at port {self.port} does not listen; its log: {self._log.read_text()}")
            time.sleep(0.05)
