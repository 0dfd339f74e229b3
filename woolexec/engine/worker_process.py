"""
The engine's end of a worker: its socket, its shared page, the functions that it has, and its last log records.

A single call may be sent directly under a permit: see `woolexec.engine.permit`.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections import deque
from time import monotonic

from woolexec.core.call import Call, Function
from woolexec.core.place import Place
from woolexec.engine.fork_server import import_path
from woolexec.engine.lane import COROUTINES, WorkerLane
from woolexec.engine.permit import Permit
from woolexec.engine.transport import Sent, Transport
from woolexec.errors import ProtocolError
from woolexec.platform.ipc import socketpair
from woolexec.platform.posix import oom_kills
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.fast_frames import encode_apart, encode_start_in_arena, split_start
from woolexec.wire.frames import Initialize, Start, Stop, encode
from woolexec.wire.payload import APART, File, Parts, attach
from woolexec.wire.pickling import dumps
from woolexec.wire.protobuf import Message
from woolexec.wire.shared_page import SharedPage, page_file
from woolexec.wire.socket_stream import Reader, enlarge, pieces, sized, write
from woolexec.worker.import_path import follow_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

_FRAMES = 64
"""Maximum number of frames in a batch of a worker; user code may write to its socket, woolexec sends one frame."""

_BATCH_SIZE = 1 << 17
_DIRECT_LIMIT = 32 * 1024


def _pair(made: contextlib.ExitStack) -> tuple[socket.socket, socket.socket]:
    ends = socketpair()
    for end in ends:
        made.callback(end.close)
    return ends


class Worker(Transport, Place):
    """The engine's view of a worker process.  Unless stated otherwise, only the engine's thread uses it."""

    __slots__ = (
        "_began",
        "_guard",
        "_out",
        "_permit",
        "_slot_of",
        "_used",
        "born",
        "descriptors",
        "done",
        "ended_for",
        "excess",
        "exitcode",
        "has_sent",
        "id",
        "is_closed",
        "is_dead",
        "lane_place",
        "log",
        "oom_kills",
        "page",
        "path",
        "pid",
        "pipes",
        "process",
        "reader",
        "sock",
        "stopping",
        "values",
    )
    VALUES = 128  # it has a descriptor of each
    room_for_values = 1 << 62  # large values are memory files that it shares with the engine
    page: SharedPage
    lane_place: WorkerLane

    def __init__(self, number: int, limit: int | None, coroutines: int = COROUTINES) -> None:
        super().__init__()
        self.has_sent = Sent()
        self._slot_of = self.has_sent.slot_of
        self.id = number
        self.lane_place = WorkerLane(self, coroutines)
        self.remaining = limit
        self.pid: int | None = None
        self.exitcode: int | None = None
        self.is_closed = False
        self.path: list[str] | None = None  # its import path; None: it keeps its own
        self.process: Any = None  # the object for users, made on first use
        self.pipes: Any = None  # for its output, if that is wanted
        self.stopping = False
        self.is_dead = False
        self.ended_for: str | None = None
        self.excess = ""  # if it was ended for using too much memory: the figures
        self.born = monotonic()
        self.done = 0  # calls that ended here
        self.log: deque[str] = deque(maxlen=5)
        self._out: deque[tuple[list[Any], File | None]] = deque()
        self._began: dict[int, float] = {}
        self._permit: Permit | None = None
        self._used: Permit | None = None  # the last used permit, until its call is known to be written
        self._guard = threading.Lock()  # guards writing to the socket, from `_out` and past it

    def open(self, reserve: Reserve) -> tuple[socket.socket, socket.socket, int]:
        """
        Create the sockets and the shared page of engine and worker.

        :param reserve: the reserve of the engine's thread
        :return: the worker's sockets, for frames and for descriptors, and the page's descriptor; the caller closes them
        :raises OSError: if no descriptor or no memory is left
        """
        with contextlib.ExitStack() as made:
            page_fd = page_file()
            made.callback(os.close, page_fd)
            ours, theirs = _pair(made)
            our_descriptors, their_descriptors = _pair(made)
            self.page = SharedPage(page_fd)
            made.pop_all()
        self.sock, self.descriptors = ours, Descriptors(our_descriptors, reserve)
        self.lane_place.page = self.page.loop
        ours.setblocking(False)
        for end in (ours, theirs):
            enlarge(end)
        self.reader = Reader(ours, self.page.up, self.descriptors, _FRAMES)
        self.oom_kills = oom_kills()
        return theirs, their_descriptors, page_fd

    def follow_path(self, path: list[str]) -> None:
        """Send the worker this import path, if it differs from its own."""
        if self.path is not None and path != self.path:
            self.path = path
            self.initialize(dumps((follow_path, (path,))))

    def _send_function(self, slot: int, function: Function, needs: tuple[int, ...]) -> None:
        self.follow_path(import_path())
        super()._send_function(slot, function, needs)

    # -- sending ------------------------------------------------------------------------------------------------

    def _send_alone(self, call: Call) -> None:
        payload = call.payload
        if payload.__class__ is Parts and len(payload.parts) == 2 and call.is_plain and call.attempts <= 1:
            slot = self._slot(call.function)
            mark = 0 if call.function.lane else self.page.down.put(payload.parts, len(payload))
            if mark:  # a shortcut for payloads of medium size, which takes a fifth of the time
                self.send(encode_start_in_arena(slot, call.number, payload.extent, mark))
                return
        super()._send_alone(call)

    def _send_payload(self, frame: Start, payload: bytes | File | Parts) -> None:
        file = attach(frame, payload, self.page.down)
        if len(frame.payload) >= APART:
            self._out.append((pieces(encode_apart(frame), frame.payload), None))
        else:
            self.send(encode(frame), file)

    def send_stop(self, finalizer: bytes | File | Parts | None = None) -> None:
        """Let the worker exit when it has finished the calls that it was sent, and run the finalizer, if any."""
        self.stopping = True
        self.ready = False
        frame = Stop()
        file = None if finalizer is None else attach(frame, finalizer)
        self.send(encode(frame), file)

    def initialize(self, payload: bytes | File | Parts) -> None:
        """Make the worker run the initializer before anything else."""
        frame = Initialize()
        file = attach(frame, payload)
        self.send(encode(frame), file)

    def send(self, frames: bytes, file: File | None = None) -> None:
        """Queue encoded frames; `flush` writes them."""
        out = self._out
        rest, beside = out[-1] if out else ((), None)
        # The rest of a partial write is a memoryview, which cannot be appended to.
        if file is beside is None and len(rest) == 1 and len(rest[0]) < _BATCH_SIZE and rest[0].__class__ is bytes:
            rest[0] += sized(frames)
        else:
            out.append((pieces(frames), file))

    def key(self, number: int) -> int | str:
        """Return its process id; a text if it ended before it had one."""
        return self.known_pid or f"worker {self.id}"

    @property
    def known_pid(self) -> int:
        """Its process id, or 0; the fork server may report it later than the outcome of a call.  From any thread."""
        if self.pid is None:
            try:
                return self.page.pid  # which the worker has written
            except ValueError:  # it is closed
                pass
        return self.pid or 0

    def flush(self) -> bool:
        """Write what is queued; return True if all is written, False if it cannot be written now."""
        out = self._out
        if self._used is not None:
            if not self._used.is_written and self.page.started < self._used.number:
                return False  # another thread is still writing a call that was recorded before these frames
            self._used = None
        if not self._guard.acquire(blocking=False):
            return not out
        try:
            return _write_out(out, self.sock, self.descriptors)
        finally:
            self._guard.release()

    def say_directly(self, frames: bytes) -> bool:
        """
        Write a command for a stream directly, without waking the engine's thread; from any thread.

        A frame this small is written whole or not at all.

        :return: False if the engine's thread must send it: because frames are queued, or because a call keeps the
            worker's main thread busy, which must then be signalled to read
        """
        if self._out or self.is_dead or (self.is_busy_here and not self.page.is_open):
            return False
        if not self._guard.acquire(blocking=False):
            return False
        try:
            return not self._out and self.sock.send(sized(frames)) > 0
        except OSError:  # full, or gone
            return False
        finally:
            self._guard.release()

    # -- direct sends -------------------------------------------------------------------------------------------

    def grant_permit(self, number: int) -> None:
        """Allow a submitting thread to write one call to this worker, under this number."""
        self._permit = Permit(number)

    def revoke_permit(self) -> tuple[Call, int] | None:
        """Revoke the permit; return the call that was sent under it and its number, if one was."""
        permit, self._permit = self._permit, None
        call = None if permit is None else permit.revoke()
        if permit is None or call is None:
            return None
        if not permit.is_written and self.page.started < permit.number:
            self._used = permit  # refers to the call, and so to its result, which an idle worker must not keep alive
        return call, permit.number

    @property
    def has_permit(self) -> bool:
        """A permit has been granted and not revoked; it may have been used."""
        return self._permit is not None

    def is_running_directly(self, call: Call) -> bool:
        """Return whether a call sent under the permit, and not yet recorded, has been started; from any thread."""
        permit = self._permit
        return permit is not None and permit.user is call and self.page.started >= permit.number

    def send_directly(self, call: Call) -> bool:
        """
        Write a call to the worker, if there is a permit for it; from any thread.

        :return: False if the call must go through the queue
        """
        payload = call.payload
        if payload.__class__ is not bytes or len(payload) > _DIRECT_LIMIT:
            return False
        permit = self._permit
        slot = self._slot_of.get(call.function)
        if permit is None or slot is None:
            return False
        before, behind = split_start(payload)
        return permit.use(self.sock, call, b"".join((before, slot, permit.ticket, behind)))

    # -- receiving ----------------------------------------------------------------------------------------------

    def receive(self, returns: list[tuple[int, float, bytes]], *, only_rest: bool = False) -> list[Message]:
        """
        Read the frames that have arrived.

        :param returns: lone Returns are appended here
        :param only_rest: only those that arrived with earlier ones
        :return: other frames
        :raises EOFError: if the worker is gone
        :raises ProtocolError: if it sent something that is not a batch
        """
        try:
            return self.reader.read(returns, only_rest=only_rest)
        except BlockingIOError:
            return []
        except ValueError as exc:
            raise ProtocolError(f"worker {self.pid}: {exc}") from exc

    @property
    def is_busy(self) -> bool:
        """Calls are outstanding or pinned, in its main thread or its lane."""
        lane = self.lane_place
        return bool(self.outstanding or self.pinned or lane.outstanding or lane.pinned)

    @property
    def is_busy_here(self) -> bool:
        """Whether its main thread runs a call, even an abandoned one, or is about to run one."""
        return bool(self.outstanding) or self.ended_for is not None

    def note_waiting(self, number: int) -> None:
        """Store the start time of a call that waits for nested tasks, because others may be started on top of it."""
        self._began = {call: since for call, since in self._began.items() if call in self.outstanding}
        self._began.setdefault(number, self.page.since)

    def began(self, number: int) -> float | None:
        """Return when a call was started, in monotonic seconds; None if it has not been."""
        if number > self.page.started:
            return None
        return self._began.get(number, self.page.since)

    def let_go(self) -> None:
        """Close the engine's sockets to the worker."""
        self.sock.close()
        self.descriptors.close()
        if self.pipes is not None:
            self.pipes.close()

    def close(self) -> None:
        """Close the sockets and the shared page, and drop what is queued."""
        self.is_closed = True
        self.pid = self.known_pid or None
        self.let_go()
        self.page.close()
        self.reader.close()  # timers may keep the worker for as long as an initializer may take
        if self.has_sent.values:
            self.values.leave(self)
        self.has_sent.clear()
        self._out.clear()


def _write_out(out: deque[Any], sock: socket.socket, descriptors: Any) -> bool:
    """Write what is queued for a worker; return False if some of it cannot be written now."""
    while out:
        try:
            frames, file = out[0]
            rest = write(sock, frames, file, descriptors)
        except BlockingIOError:
            return False
        except OSError:
            out.clear()  # the worker is gone; the end of its stream will show that
            return True
        if rest[0]:
            out[0] = rest
        else:
            out.popleft()
    return True


def has_run(worker: Worker) -> bool:
    """Return whether a worker reports that it has begun a call."""
    return bool(worker.page.started or worker.page.loop.started)


def pids_of(workers: dict[int, Worker]) -> list[int]:
    """Return the process ids of workers; from any thread."""
    return [pid for worker in tuple(workers.values()) if (pid := worker.known_pid)]


def unsent_to(workers: dict[int, Worker]) -> int:
    """Return the bytes that wait to be written to workers."""
    return sum(len(piece) for worker in workers.values() for rest, _ in worker._out for piece in rest)


def unread_by(worker: Worker) -> int:
    """Return the bytes that wait to be written to a worker, with those of memory files."""
    return sum(sum(map(len, rest)) + (0 if file is None else len(file)) for rest, file in worker._out)
