"""
Peers that are started over ssh and run as long as a client uses them.

::

    client --unix socket--> ssh ==encrypted==> sshd --unix socket--> woolexec serve, on the host
       '--- stdin of ssh: the token, then nothing; the peer ends at EOF ---'

Both sockets are in folders that only their owners can access, and each start makes a new token; nothing listens on a
network.  `WOOLEXEC_SSH` names a program to use instead of ``ssh``, as ``GIT_SSH`` does for git.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import secrets
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator, Coroutine
from functools import partial
from typing import Self

from woolexec.discovery.base import Discovery, Event, Joined, Left, Record
from woolexec.errors import DiscoveryError
from woolexec.mesh.security.credentials import Credentials

_STARTING = 60.0
"""Seconds until the peer must be ready: sshd or a cold disk may be slow."""

_ENDING = 5.0
"""Seconds to wait for ssh to end."""

_OVER = 0.5
"""How often to check whether ssh has ended while its output is open, in seconds."""

_LOOK = 0.01
_COMPLAINT_SIZE = 4096

_OPTIONS = (
    *("-o", "BatchMode=yes"),  # there is no one to type a password
    *("-o", "ExitOnForwardFailure=yes"),
    *("-o", "ServerAliveInterval=10", "-o", "ServerAliveCountMax=3"),
    *("-o", "ControlMaster=no", "-o", "ControlPath=none"),  # a shared connection would keep the forwarding open
    *("-o", "StreamLocalBindMask=0177"),
)


class Ssh(Discovery):
    """
    A peer on a host that is reached by ssh.

    :param host: ``[user@]host``
    :param port: the port of sshd; None: as configured for ssh
    :param workers: number of workers of the peer; None: one for each usable CPU of the host
    :param python: the interpreter on the host; None: run the command ``woolexec`` from its PATH
    :param jump: jump hosts, ``[user@]host[:port]``, separated by commas; None: as configured for ssh
    :raises ValueError: if ssh would take a host for an option
    """

    def __init__(
        self,
        host: str,
        port: int | None = None,
        *,
        workers: int | None = None,
        python: str | None = None,
        jump: str | None = None,
    ) -> None:
        for name in (host, *(() if jump is None else (jump,))):
            if not name or name.startswith("-"):
                raise ValueError(f"{name!r} is not the name of a host")
        self.jump = jump
        self.host = host
        self.port = port
        self.workers = workers
        self.python = python

    count = 1
    slowest = 60.0  # each attempt is a login, and some hosts block users whose logins fail often

    def __str__(self) -> str:
        return f"ssh://{self.host}{f':{self.port}' if self.port else ''}"

    async def watch(self) -> AsyncIterator[Event]:
        """
        Start the peer; yield when it has joined and when it has left.

        :raises DiscoveryError: if it cannot be started, and after it has ended
        """
        folder = tempfile.mkdtemp(prefix="woolexec-")  # 0700
        try:
            credentials = Credentials.with_new_token()
            assert credentials.token is not None
            here = os.path.join(folder, "peer")
            async with _Running(self._command(here), credentials.token + b"\n", str(self)) as running:
                await running.ready()
                yield Joined(Record(self.host, (f"unix:{here}",), credentials=credentials))
                why = await running.end()
            yield Left(self.host)
            raise DiscoveryError(why)
        finally:
            shutil.rmtree(folder, ignore_errors=True)

    def _command(self, here: str) -> list[str]:
        there = f"/tmp/woolexec-{secrets.token_hex(16)}/peer"  # noqa: S108  # the peer creates the folder, or fails
        program = [self.python, "-m", "woolexec"] if self.python else ["woolexec"]
        serve = [
            *program,
            "serve",
            "--json",
            "--lifeline",
            "--log-level=warning",
            "--token-file=-",
            f"--bind=unix:{there}",
        ]
        if self.workers:
            serve.append(f"--workers={self.workers}")
        port = ["-p", str(self.port)] if self.port else []
        jump = ["-J", self.jump] if self.jump else []
        ssh = os.environ.get("WOOLEXEC_SSH", "ssh")
        return [
            ssh,
            "-T",
            *_OPTIONS,
            *port,
            *jump,
            "-L",
            f"{here}:{there}",
            "--",
            self.host,
            f"exec {shlex.join(serve)}",
        ]


class _Running:
    """An ssh that runs a peer."""

    def __init__(self, command: list[str], stdin: bytes, name: str) -> None:
        self._command = command
        self._name = name
        self._stdin = stdin
        self._said = asyncio.StreamReader()
        self._complained = asyncio.StreamReader()
        self._complaints = b""
        self._transports: list[asyncio.ReadTransport] = []

    async def __aenter__(self) -> Self:
        try:
            self._process = subprocess.Popen(  # noqa: ASYNC220  # asyncio's needs a child watcher of the user's policy
                self._command,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                bufsize=0,
                start_new_session=True,  # Ctrl-C is for the client
            )
        except OSError as exc:
            error = DiscoveryError(f"{self._name}: cannot run {self._command[0]!r} here: {exc.strerror}")
            error.is_final = isinstance(exc, FileNotFoundError | PermissionError)
            raise error from exc
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.write(self._stdin)
        try:
            await self._listen_to_all()
        except BaseException:  # __aexit__ will not be called
            self._process.kill()
            self._process.wait()
            for transport in self._transports:
                transport.close()
            for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
                pipe.close()  # type: ignore[union-attr]  # all three are pipes
            raise
        return self

    async def _listen_to_all(self) -> None:
        loop = asyncio.get_running_loop()
        pipes = ((self._said, self._process.stdout), (self._complained, self._process.stderr))
        for reader, pipe in pipes:
            transport, _ = await loop.connect_read_pipe(partial(asyncio.StreamReaderProtocol, reader), pipe)
            self._transports.append(transport)
        self._listening = loop.create_task(self._listen())

    async def _listen(self) -> None:
        while data := await self._complained.read(_COMPLAINT_SIZE):
            # Remove the token before shortening: half a token could not be recognised any more.
            self._complaints = self._without_token(self._complaints + data)[-_COMPLAINT_SIZE:]

    async def __aexit__(self, *exc_info: object) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        self._process.terminate()
        try:
            await self._ended()
        finally:
            if self._process.poll() is None:
                self._process.kill()
                self._process.wait()
            self._listening.cancel()
            for transport in self._transports:
                transport.close()

    async def _ended(self) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_ENDING):
                while self._process.poll() is None:  # noqa: ASYNC110  # as above
                    await asyncio.sleep(_LOOK)

    async def ready(self) -> None:
        """
        Wait for the peer's ready line.

        :raises DiscoveryError: if another line arrives, or none
        """
        try:
            async with asyncio.timeout(_STARTING):
                line = await self._unless_over(self._said.readline())
        except TimeoutError as exc:
            raise DiscoveryError(f"{self._name}: the peer was not ready within {_STARTING:g} s") from exc
        try:
            json.loads(line)["identity"]
        except (ValueError, KeyError, TypeError) as exc:
            said = self._quoted(line)
            if said:
                raise DiscoveryError(
                    f"{self._name}: expected the ready line of woolexec serve, got {said!r}: does the shell's "
                    "profile there print something?"
                ) from exc
            error = DiscoveryError(await self.end())
            error.is_final = self._is_hopeless
            raise error from exc

    def _quoted(self, said: bytes) -> str:
        """Return the output of ssh without the token."""
        return self._without_token(said).decode(errors="replace").strip()

    def _without_token(self, said: bytes) -> bytes:
        return said.replace(self._stdin.strip(), b"...")

    async def _unless_over(self, reading: Coroutine[None, None, bytes]) -> bytes:
        """Return the next output of ssh; nothing if it has ended, even if a child process holds its output open."""
        said = asyncio.ensure_future(reading)
        try:
            is_over = False
            while not (said.done() or is_over):
                is_over = self._process.poll() is not None  # earlier output is still read
                await asyncio.wait({said}, timeout=_OVER)
            return said.result() if said.done() else b""
        finally:
            said.cancel()

    async def end(self) -> str:
        """Wait until ssh has ended; return why."""
        while await self._unless_over(self._said.read(_COMPLAINT_SIZE)):
            pass
        await self._ended()
        await asyncio.wait({self._listening}, timeout=_ENDING)
        code = self._process.poll()
        last = " / ".join(self._quoted(self._complaints).splitlines()[-3:])
        advice = ": woolexec is not installed there; install it, or name its interpreter: ?python=/path/to/python"
        return (
            f"{self._name}: ssh ended with exit code {code}{': ' if last else ''}{last}"
            f"{advice if self._is_hopeless else ''}"
        )

    @property
    def _is_hopeless(self) -> bool:
        """Whether the host was reached, but the command was not found there (127, 126: see sh(1))."""
        return self._process.poll() in (126, 127) or b"No module named woolexec" in self._complaints
