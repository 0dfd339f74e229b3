"""Use objects of `multiprocessing` that are in another process: see `lending`."""

from __future__ import annotations

import _multiprocessing  # type: ignore[import-not-found]  # typeshed lacks it
import builtins
import contextlib
import json
import os
import socket
import threading
import weakref
from multiprocessing import connection as connections
from multiprocessing import heap, reduction

from woolexec.platform.posix import renewed_at_fork

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Ticket = tuple[str, bytes, int]
    """The address of the process that has the object, the key for authentication there, and the object's number."""


class _Link:
    """The connection of one thread to a process that lends objects."""

    def __init__(self, address: str, key: bytes) -> None:
        self._pid = os.getpid()
        self._connection = connections.Client(address, "AF_UNIX", authkey=key)

    def ask(self, question: list[Any], *, has_descriptor: bool) -> Any:
        """Send a request and wait for the answer, which may be followed by an error."""
        self._connection.send_bytes(json.dumps(question).encode())
        answer: list[Any] = json.loads(self._connection.recv_bytes())
        if has_descriptor and len(answer) == 1:
            return [reduction.recv_handle(self._connection)]
        return answer

    def leave(self, number: int = 0, *, is_interrupted: bool = False) -> None:
        """
        Announce that this thread needs nothing more, so that its locks are not treated as those of a dead process.

        :param number: number of the object in its last request
        :param is_interrupted: it has not received the answer to that request
        """
        if self._pid == os.getpid():  # otherwise this is a forked child, and the connection is its parent's
            with contextlib.suppress(OSError):
                self._connection.send_bytes(json.dumps(["leave", number, is_interrupted]).encode())
        self._connection.close()

    def __del__(self) -> None:
        """Leave at the end of the thread."""
        if hasattr(self, "_connection") and not self._connection.closed:
            self.leave()


class _Here(threading.local):
    """The links of this thread, by address."""

    def __init__(self) -> None:
        self.pid = os.getpid()
        self.links: dict[str, _Link] = {}


_here = _Here()


def _link_to(address: str, key: bytes) -> _Link:
    if _here.pid != os.getpid():  # this is a forked child, and the links are its parent's
        _here.__init__()  # type: ignore[misc]
    found = _here.links.get(address)
    if found is None:
        try:
            found = _here.links[address] = _Link(address, key)
        except OSError as exc:
            text = f"objects of multiprocessing can be used only where the process that made them runs: {exc}"
            raise type(exc)(text) from None
    return found


def _ask(ticket: Ticket, question: str, *arguments: Any, has_descriptor: bool = False) -> Any:
    """Send a request to the process that has the object; wait for the answer."""
    address, key, number = ticket
    link = _link_to(address, key)
    try:
        answer, *error = link.ask([question, number, *arguments], has_descriptor=has_descriptor)
    except BaseException as exc:  # even if the wait was interrupted: the next answer would be the one to this request
        del _here.links[address]
        link.leave(number, is_interrupted=True)
        if isinstance(exc, EOFError):
            raise ConnectionResetError("the process that has this object of multiprocessing has ended") from None
        raise
    if error:
        raise getattr(builtins, error[0])(error[1])
    return answer


def _descriptor(ticket: Ticket) -> int:
    return int(_ask(ticket, "descriptor", os.getpid(), has_descriptor=True))


class Descriptor:
    """A descriptor of another process; it can be detached often, unlike those of `multiprocessing.resource_sharer`."""

    def __init__(self, ticket: Ticket) -> None:
        self._ticket = ticket

    def detach(self) -> int:
        """Return a copy of the descriptor."""
        return _descriptor(self._ticket)


class Borrowed:
    """Represents a semaphore of the C module `_multiprocessing` that is in another process."""

    name = None
    handle = 0

    def __init__(self, ticket: Ticket, kind: int, maxvalue: int) -> None:
        self.ticket = ticket
        self.kind = kind
        self.maxvalue = maxvalue

    def acquire(self, block: bool = True, timeout: float | None = None) -> bool:  # noqa: FBT001, FBT002  # as its own
        """Acquire the semaphore; return False if the timeout, in seconds, has passed."""
        return bool(_ask(self.ticket, "acquire", bool(block), timeout))

    def release(self) -> None:
        """
        Release the semaphore.

        :raises ValueError: if it has been released too often
        :raises AssertionError: if another thread owns it
        """
        _ask(self.ticket, "release")

    def __enter__(self) -> bool:
        return self.acquire()

    def __exit__(self, *error: object) -> None:
        self.release()

    def _count(self) -> int:
        return int(_ask(self.ticket, "_count"))

    def _is_mine(self) -> bool:
        return bool(_ask(self.ticket, "_is_mine"))

    def _is_zero(self) -> bool:
        return bool(_ask(self.ticket, "_is_zero"))

    def _get_value(self) -> int:
        return int(_ask(self.ticket, "_get_value"))

    def _after_fork(self) -> None:
        """Do nothing: a forked child uses its own connection."""


def is_there(semaphore: Any) -> bool:
    """Return whether a semaphore of the C module can still be opened by its name."""
    try:
        _multiprocessing.SemLock._rebuild(semaphore.handle, semaphore.kind, semaphore.maxvalue, semaphore.name)
    except OSError:
        return False
    return True


def semaphore(cls: Any, ticket: Ticket, kind: int, maxvalue: int) -> Any:
    """Create a lock or semaphore of `multiprocessing.synchronize` that is in another process."""
    made = cls.__new__(cls)
    made._semlock = Borrowed(ticket, kind, maxvalue)
    made._is_fork_ctx = False
    made._make_methods()
    return made


_memory: weakref.WeakValueDictionary[Ticket, Any] = weakref.WeakValueDictionary()
_mapping = renewed_at_fork(threading.Lock())  # guards `_memory`


def memory(ticket: Ticket, size: int) -> Any:
    """Map memory of another process, once."""
    with _mapping:
        arena = _memory.get(ticket)
        if arena is None:
            descriptor = _descriptor(ticket)
            arena = _memory[ticket] = heap.Arena(size, descriptor)
            weakref.finalize(arena, os.close, descriptor).atexit = False
        return arena


def ticket_of(arena: Any) -> Ticket | None:
    """Return the ticket of mapped memory; None for memory of this process."""
    return next((ticket for ticket, each in list(_memory.items()) if each is arena), None)


def connection(ticket: Ticket, **ways: bool) -> Any:
    """Open a connection of another process."""
    return connections.Connection(_descriptor(ticket), **ways)


def open_socket(ticket: Ticket, family: int, kind: int, proto: int) -> Any:
    """Open a socket of another process."""
    return socket.socket(family, kind, proto, fileno=_descriptor(ticket))
