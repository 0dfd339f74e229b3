"""
Fd passing: hand memory files from one end of a link to the other, if both are on one host.

::

    client                                                            peer
      <- Passage  boot id, name, key of this link ------- gRPC ------      part of what the peer's proof covers
      -- first half of the key -----------------------> Unix socket      proves that both run on the same kernel,
      <- second half ---------------------------------- Unix socket      independent of names and addresses
      -- number, descriptor --------------------------> Unix socket
      -- Handed, and the frame ------------------------- gRPC ------>    both ways, until the link ends

A descriptor is in the other end's socket before the frame that needs it is sent, so the receiver never waits for one.
If this fails (another kernel or container, a full socket, no descriptors), a payload is sent in parts instead.

The Unix socket has a random abstract name (see `unix(7)`), so a peer that is killed leaves no file behind.  Any user of
the host can connect to it, but is not accepted without a key; and each end asks the kernel which user is at the other:
descriptors pass between processes of one user only, or of root.
"""

from __future__ import annotations

import asyncio
import errno
import hmac
import os
import secrets
import socket
import threading
from collections.abc import Callable

from woolexec.errors import ProtocolError
from woolexec.platform.files import is_trusted
from woolexec.platform.ipc import is_sealed, send_with_fds, unix_socket, user_of
from woolexec.platform.posix import boot_id
from woolexec.wire.descriptors import OnTheWay, Reserve, receive
from woolexec.wire.payload import File
from woolexec.wire.wire_pb2 import Passage as Directions

_HALF = 16
"""Bytes of each half of a key."""

_GREETING = 5.0
"""Seconds within which the other end must send its half of the key."""

_STRANGERS = 64
"""Maximum number of connections that have not sent their half yet; further ones are closed."""

_NUMBER = 8
"""Bytes of a descriptor's number."""

_UNTAKEN = 256
"""Maximum number of received files whose frames have not arrived: a file is sent right before its frame."""


class Passage:
    """One end of the Unix socket that accompanies a link."""

    def __init__(self, sock: socket.socket) -> None:
        self._sock = sock
        self.reserve = Reserve()
        self.reserve.hold()
        self._given = 0
        self._on_the_way = OnTheWay(sock)
        self._come: dict[int, File | OSError] = {}

    def give(self, file: File) -> int:
        """
        Hand a file over.

        :return: the number by which the other end takes it; 0 if it cannot be handed over now
        """
        number = self._given + 1
        try:
            if not is_sealed(file.fd) or not self._on_the_way.has_room(len(file)):
                return 0  # a file on disk can be changed by others
            send_with_fds(self._sock, number.to_bytes(_NUMBER, "little"), [file.fd])
        except OSError:
            return 0
        self._on_the_way.add(len(file))
        self._given = number
        return number

    def take(self, number: int) -> File | OSError:
        """
        Return the file with this number; an error if there was no descriptor left to receive it.

        :raises ProtocolError: if it was not handed over
        """
        while number not in self._come:
            self._receive()
        return self._come.pop(number)

    def _receive(self) -> None:
        try:
            data, fds, is_lost = receive(self._sock, _NUMBER + 1, self.reserve)
        except OSError as exc:
            raise ProtocolError("a memory file was announced, but not handed over") from exc
        if len(data) != _NUMBER or len(fds) > 1 or len(self._come) >= _UNTAKEN or not all(map(is_sealed, fds)):
            for fd in fds:  # closing anything but a memory file may block
                threading.Thread(target=os.close, args=(fd,), name="woolexec-close", daemon=True).start()
            raise ProtocolError("received something other than a sealed memory file, or one too many")
        number = int.from_bytes(data, "little")
        if fds:
            self._come[number] = File(fds[0], ())
        elif is_lost:
            self._come[number] = OSError(errno.EMFILE, "no descriptor was left to receive a large payload")
        else:
            raise ProtocolError("received the number of a memory file without its descriptor")

    def close(self) -> None:
        """Close the socket, and drop the files that were not taken."""
        self._come.clear()
        self.reserve.lend()
        self._sock.close()


class Passages:
    """The peer's end: accepts the connections of admitted clients."""

    def __init__(self) -> None:
        self._expected: dict[bytes, tuple[bytes, Callable[[Passage], None]]] = {}
        self._name, self._boot = "", boot_id()

    async def run(self) -> None:
        """Accept connections until cancelled."""
        if not self._boot:
            return
        name = "\0woolexec-" + secrets.token_hex(_HALF)
        try:
            listener = _socket()
            listener.bind(name)
        except OSError:  # no descriptors: payloads are sent in parts
            return
        with listener:
            listener.listen(_STRANGERS)
            self._name = name
            async with asyncio.TaskGroup() as group:
                await self._listen(listener, group)

    async def _listen(self, listener: socket.socket, group: asyncio.TaskGroup) -> None:
        loop = asyncio.get_running_loop()
        strangers: set[asyncio.Task[None]] = set()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError:  # no descriptors
                await asyncio.sleep(_GREETING)
                continue
            if len(strangers) >= _STRANGERS:
                sock.close()
                continue
            task = group.create_task(self._greet(sock))
            strangers.add(task)
            task.add_done_callback(strangers.discard)

    async def _greet(self, sock: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        try:
            _check_user(sock)
            async with asyncio.timeout(_GREETING):
                half = await loop.sock_recv(sock, _HALF)
                rest, taken = self._expected.pop(half)
                await loop.sock_sendall(sock, rest)
        except (OSError, TimeoutError, KeyError):
            sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            taken(Passage(sock))

    def expect(self, taken: Callable[[Passage], None]) -> tuple[bytes, Callable[[], object]]:
        """
        Expect the connection of a client.

        :param taken: called with the passage, if the client connects
        :return: the directions for the client, and a function to call when it is no longer expected
        """
        if not (self._name and self._boot):
            return b"", lambda: None
        key = secrets.token_bytes(2 * _HALF)
        self._expected[key[:_HALF]] = key[_HALF:], taken
        told = Directions(boot=self._boot, name=self._name, key=key).SerializeToString()
        return told, lambda: self._expected.pop(key[:_HALF], None)


async def enter(told: bytes) -> Passage | None:
    """
    Connect the client's end; return None if the peer offers no socket, or the socket does not lead to the peer.

    :param told: the directions from the peer
    """
    try:
        directions = Directions.FromString(told)
    except Exception:  # protobuf's DecodeError: a peer of another version
        return None
    if not directions.boot or directions.boot != boot_id() or len(directions.key) != 2 * _HALF:
        return None
    loop = asyncio.get_running_loop()
    try:
        sock = _socket()
    except OSError:  # no descriptors
        return None
    try:
        async with asyncio.timeout(_GREETING):
            await loop.sock_connect(sock, directions.name)
            _check_user(sock)
            await loop.sock_sendall(sock, directions.key[:_HALF])
            rest = await loop.sock_recv(sock, _HALF)
        if hmac.compare_digest(rest, directions.key[_HALF:]):
            return Passage(sock)
    except (OSError, TimeoutError):
        pass
    except BaseException:
        sock.close()
        raise
    sock.close()
    return None


def _check_user(sock: socket.socket) -> None:
    """
    Check that a process of this user, or of root, is at the other end.

    :raises PermissionError: if it is a process of another user
    """
    user = user_of(sock)
    if user is not None and not is_trusted(user):
        raise PermissionError(errno.EPERM, "another user is at the other end")


def _socket() -> socket.socket:
    sock = unix_socket("SEQPACKET")
    sock.setblocking(False)
    return sock
