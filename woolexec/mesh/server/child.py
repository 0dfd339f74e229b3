"""A peer that is a child process of this one, and ends with it: ``woolexec serve --lifeline``."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Mapping

from woolexec.errors import PeerStartError
from woolexec.mesh.server.listening import reachable

_ENDING = 30.0
"""Seconds that a peer has to end, before it is killed."""


class ChildPeer:
    """
    A peer on all interfaces, at any free port.

    :param token: the token that its clients must have; it does not appear in a command line
    :param resources: the resources that it offers
    :param without: prefixes of the environment variables that it does not inherit
    """

    def __init__(
        self, token: bytes, workers: int, *, resources: Mapping[str, float] | None = None, without: Iterable[str] = ()
    ) -> None:
        command = [
            sys.executable,
            "-m",
            "woolexec",
            "serve",
            "--bind=0.0.0.0:0",
            "--token-file=-",
            "--lifeline",
            "--json",
        ]
        command += [f"--workers={workers}", "--log-level=warning"]
        command += [f"--resource={name}={amount:g}" for name, amount in (resources or {}).items()]
        prefixes = tuple(without)
        env = {name: value for name, value in os.environ.items() if not name.startswith(prefixes)}
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `addresses` reports
            self._process.stdin.write(token + b"\n")
            self._process.stdin.flush()

    def addresses(self) -> tuple[str, ...]:
        """
        Wait until it serves, and return the addresses at which other hosts can reach it.

        :raises PeerStartError: if it does not start; the reason is on standard error, which it shares with this process
        """
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise PeerStartError(f"woolexec serve ended with exit code {self._process.wait()}")
        return reachable(json.loads(line)["address"])

    @property
    def has_ended(self) -> bool:
        """Whether its process has ended."""
        return self._process.poll() is not None

    def end(self) -> None:
        """End the process, and wait for its end."""
        with self._process as process:
            assert process.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it had ended before it read the token
                process.stdin.close()
            try:
                process.wait(_ENDING)
            except subprocess.TimeoutExpired:  # to leave the block would wait without limit
                process.kill()
