"""
Lend objects that `multiprocessing` shares between processes: `Lock`, `Condition`, `Event`, `Queue`, `Value` and others.

The standard library's workers inherit these objects.  Here a pickle contains a ticket instead.  With it, a worker on
this machine sends requests to the process that has the object (see `borrowing`): for a descriptor, or to acquire and
release a semaphore whose name has been removed.  Each thread of a worker is served by a separate thread here, which
owns what the worker's thread has acquired.

::

    worker's thread                            its thread here
    ["acquire", 7, true, null]  ------------>  semaphore.acquire(), as long as the worker waits
                                <------------  [true]
"""

from __future__ import annotations

import itertools
import json
import os
import socket
import threading
from contextlib import contextmanager, suppress
from copyreg import __newobj__ as new  # type: ignore[attr-defined]  # typeshed lacks it
from functools import partial
from multiprocessing import AuthenticationError, context, reduction, resource_sharer, synchronize
from multiprocessing.connection import Connection, Listener
from time import monotonic, sleep
from weakref import WeakKeyDictionary, WeakValueDictionary, finalize

from woolexec.imported import imported
from woolexec.platform.posix import at_fork, renewed_at_fork
from woolexec.wire import borrowing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping
    from typing import Any

_RECURSIVE: int = synchronize.RECURSIVE_MUTEX  # type: ignore[attr-defined]  # typeshed lacks it

_TURN = 0.5
"""Seconds to wait for a semaphore before looking whether the worker still waits."""

_REST = 0.05
"""Seconds to wait for a descriptor."""

_QUESTIONS = frozenset({"release", "_count", "_is_mine", "_is_zero", "_get_value"})
"""Methods of a semaphore that `multiprocessing.synchronize` calls, apart from `acquire`."""


class Lender:
    """Lends objects of this process to workers that have a ticket."""

    def __init__(self) -> None:
        self._key = os.urandom(32)
        self._listener = Listener(None, "AF_UNIX", backlog=128, authkey=self._key)
        self._lent: WeakValueDictionary[int, Any] = WeakValueDictionary()
        self._numbers: WeakKeyDictionary[Any, int] = WeakKeyDictionary()
        self._holders: dict[int, _Borrower] = {}
        self._serials = itertools.count(1)
        self._numbering = threading.Lock()  # guards the numbers and the lent objects
        threading.Thread(target=self._accept, name="woolexec-lender", daemon=True).start()

    def ticket(self, thing: Any) -> borrowing.Ticket:
        """Return the ticket of an object; workers can use it with this ticket until the object is collected."""
        with self._numbering:
            number = self._numbers.get(thing)
            if number is None:
                number = self._numbers[thing] = next(self._serials)
                self._lent[number] = thing
        return str(self._listener.address), self._key, number

    def _accept(self) -> None:
        while True:
            try:
                connection = self._listener.accept()
            except (AuthenticationError, EOFError):  # not a worker of ours, or one that has ended
                continue
            except OSError:  # the same, or no descriptor is free
                sleep(_REST)
                continue
            borrower = _Borrower(connection, self._lent, self._holders)
            threading.Thread(target=borrower.serve, name="woolexec-lending", daemon=True).start()


class _Borrower:
    """
    Serves one thread of a worker, in a thread here.

    :param lent: the lent objects, by number
    :param holders: the borrower that has acquired each lock, by number
    """

    def __init__(self, connection: Connection, lent: Mapping[int, Any], holders: dict[int, _Borrower]) -> None:
        self._connection, self._lent, self._holders = connection, lent, holders
        self._recursive: dict[int, Any] = {}  # recursive locks that this thread may own
        self._acquired: Any = None  # the semaphore that the last request has acquired, if it has

    def serve(self) -> None:
        """Answer until the thread or its process ends; then release the locks that it still holds."""
        has_left = False
        with self._connection, suppress(EOFError, OSError):
            while not has_left:
                has_left = self._answer()
        for mutex in self._recursive.values():
            while mutex._is_mine():
                mutex.release()
        if not has_left:  # its process has ended, and others would wait forever
            for number in [number for number, holder in list(self._holders.items()) if holder is self]:
                self._holders.pop(number)
                with suppress(ValueError):
                    self._lent[number]._semlock.release()

    def _answer(self) -> bool:
        """Answer a request; return whether it was the last."""
        question, number, *arguments = json.loads(self._connection.recv_bytes())
        acquired, self._acquired = self._acquired, None
        if question == "leave":
            if acquired is not None and arguments == [True]:  # it has not received that answer
                self._holders.pop(number, None)
                acquired.release()
            return True
        thing = self._lent.get(number)
        if thing is None:
            self._reply(None, FileNotFoundError("the process that made this object has removed it"))
        elif question == "descriptor":
            try:
                descriptor = _descriptor_of(thing)
            except OSError as exc:
                self._reply(None, exc)
            else:
                self._reply(None)
                reduction.send_handle(self._connection, descriptor, *arguments)
        elif question == "acquire":
            self._acquire(number, thing._semlock, *arguments)
        elif question in _QUESTIONS:
            if question == "release":
                self._holders.pop(number, None)
            try:
                answer = getattr(thing._semlock, question)()
            except (AssertionError, ValueError, OSError) as exc:  # released too often, or not by its owner
                self._reply(None, exc)
            else:
                self._reply(answer)
        return False

    def _acquire(self, number: int, semaphore: Any, block: Any, timeout: float | None) -> None:
        deadline = None if timeout is None else monotonic() + timeout
        acquired = semaphore.acquire(False)
        while block and not acquired:
            left = _TURN if deadline is None else min(_TURN, deadline - monotonic())
            if left <= 0:
                break
            acquired = semaphore.acquire(True, left)
            if not acquired and self._connection.poll():  # the worker no longer waits for the answer
                return
        if acquired:
            self._acquired = semaphore
            if semaphore.kind == _RECURSIVE:
                self._recursive[number] = semaphore
            elif semaphore.maxvalue == 1:
                self._holders[number] = self
        try:
            self._reply(acquired)
        except OSError:
            if acquired and self._holders.pop(number, self) is self:
                semaphore.release()
            raise

    def _reply(self, answer: Any, error: Exception | None = None) -> None:
        told = [] if error is None else [type(error).__name__, str(error)]
        self._connection.send_bytes(json.dumps([answer, *told]).encode())


def _descriptor_of(thing: Any) -> int:
    """
    Return the descriptor of a connection, of a socket, or of shared memory.

    :raises OSError: if it is closed
    """
    fileno = getattr(thing, "fileno", None)
    try:
        descriptor = int(thing.fd if fileno is None else fileno())
    except OSError:  # a connection that is closed; the descriptor of a socket that is closed is -1
        descriptor = -1
    if descriptor < 0:
        raise OSError(f"this {type(thing).__name__} has been closed in the process that made it")
    return descriptor


_lender: Lender | None = None
_making = renewed_at_fork(threading.Lock())  # guards `_lender`


def _forget() -> None:
    global _lender  # a forked child has its own lender
    _lender = None


at_fork(after_in_child=_forget)


def ticket_of(thing: Any) -> borrowing.Ticket:
    """
    Return the ticket of an object of this process.

    :raises OSError: if no socket can be made
    """
    global _lender
    with _making:
        if _lender is None:
            _lender = Lender()
    return _lender.ticket(thing)


# -- how they are pickled ---------------------------------------------------------------------------------------------


def _reduce_semaphore(semaphore: Any) -> Any:
    """Reduce a lock or semaphore: to its name, if it has one, else to a ticket."""
    inner = semaphore._semlock
    if isinstance(inner, borrowing.Borrowed):
        ticket = inner.ticket
    else:
        if inner.name is not None and borrowing.is_there(inner):
            return new, (type(semaphore),), (inner.handle, inner.kind, inner.maxvalue, inner.name)
        ticket = ticket_of(semaphore)
    return borrowing.semaphore, (type(semaphore), ticket, inner.kind, inner.maxvalue)


def _reduce_memory(arena: Any) -> Any:
    return borrowing.memory, (borrowing.ticket_of(arena) or ticket_of(arena), arena.size)


def _reduce_connection(connection: Any) -> Any:
    _descriptor_of(connection)
    open_it = partial(borrowing.connection, readable=connection.readable, writable=connection.writable)
    return open_it, (ticket_of(connection),)


def _reduce_socket(sock: Any) -> Any:
    _descriptor_of(sock)
    return borrowing.open_socket, (ticket_of(sock), sock.family, sock.type, sock.proto)


SHARED: dict[type, Callable[[Any], Any]] = {Connection: _reduce_connection, socket.socket: _reduce_socket}
"""Reducers for pickles that any number of workers unpickle, while the connections and sockets are open here."""


class _Lent:
    """Represents a queue's connection in the queue's pickle."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection

    def __reduce__(self) -> Any:
        return _reduce_connection(self._connection)


def _reduce_queue(queue: Any) -> Any:
    state = queue.__getstate__()
    return new, (type(queue),), tuple(_Lent(each) if isinstance(each, Connection) else each for each in state)


def reducers() -> dict[type, Callable[[Any], Any]]:
    """Return the reducers that apply within `lending`: for shared objects, if imported, and those passed to it."""
    popen: Any = context.get_spawning_popen()
    if not isinstance(popen, _Popen):
        return {}
    found = dict(popen.reducers)
    for name, classes, reduce in (
        ("synchronize", ("Lock", "RLock", "Semaphore", "BoundedSemaphore"), _reduce_semaphore),
        ("heap", ("Arena",), _reduce_memory),
        ("queues", ("Queue", "JoinableQueue", "SimpleQueue"), _reduce_queue),
    ):
        module = imported(f"multiprocessing.{name}")
        found.update({getattr(module, cls): reduce for cls in classes if hasattr(module, cls)})
    return found


class _Popen:
    """
    Stands for the child process that `multiprocessing` believes is being started while something is pickled.

    :param kept: receives objects that must live as long as the pickle is used; None: it is used once
    :param reducers: further reducers, by class
    """

    def __init__(self, kept: list[Any] | None, reducers: dict[type, Callable[[Any], Any]]) -> None:
        self.reducers = reducers
        self._kept = kept

    def duplicate_for_child(self, fd: int) -> int:
        """Return the argument for `DupFd`."""
        return fd

    def DupFd(self, fd: int) -> Any:  # noqa: N802  # the name that multiprocessing calls
        """Return an object that provides a copy of the descriptor in a worker."""
        if self._kept is None:
            return resource_sharer.DupFd(fd)
        duplicate = _Duplicate(fd)
        self._kept.append(duplicate)
        return borrowing.Descriptor(ticket_of(duplicate))


class _Duplicate:
    """A copy of a descriptor, closed when this is collected."""

    def __init__(self, fd: int) -> None:
        self.fd = os.dup(fd)
        finalize(self, os.close, self.fd)


@contextmanager
def lending(kept: list[Any] | None = None, reducers: dict[type, Callable[[Any], Any]] | None = None) -> Iterator[None]:
    """
    Within this, classes of `multiprocessing` pickle objects that otherwise only child processes inherit.

    :param kept: receives objects that must live as long as the pickle is used, in any number of workers; None: it is
        used once
    :param reducers: further reducers, by class
    """
    before = context.get_spawning_popen()
    if not isinstance(before, _Popen):
        context.set_spawning_popen(_Popen(kept, reducers or {}))  # type: ignore[arg-type]  # it has what is used
    try:
        yield
    finally:
        context.set_spawning_popen(before)
