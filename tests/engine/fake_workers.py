"""
An engine without threads, processes and a clock: the test is its loop, its fork server and the far end of its workers.

All parts of `Rounds` are the real ones, and so are the sockets and shared pages of the workers.  `FakeLoop` calls
nothing by itself; `FakeForkServer` keeps the worker's end of what it is given, as `FarEnd`.
"""

import contextlib
import itertools
import os
import socket
from collections import deque

from woolexec.core.call import ASYNCIO, MAIN, Call, Function, Pulled
from woolexec.engine import forks
from woolexec.engine.fork_server import import_path
from woolexec.engine.rounds import Rounds
from woolexec.options import TaskOptions
from woolexec.platform.ipc import DONT_WAIT
from woolexec.wire.descriptors import Descriptors, Reserve
from woolexec.wire.frames import encode
from woolexec.wire.shared_page import SharedPage
from woolexec.wire.socket_stream import Reader


class FakeLoop:
    """An inbox, timers and a selector that the test moves on."""

    def __init__(self, is_current):
        self.is_current = is_current
        self.inbox = deque()
        self.stopped = False
        self.now = 1000.0
        self.timers = []
        self.woken = 0
        self.records = []
        self.user_code = []
        self.watched = self
        self.acts, self.writing = {}, set()

    def clock(self):
        return self.now

    def wake(self):
        self.woken += 1

    def tell(self, piece):
        self.inbox.append(piece)

    def run(self, piece):
        piece()
        self.wake()

    def after(self, seconds, piece, about=None):
        self.timers.append((self.now + seconds, piece, about))

    def pass_time(self, seconds):
        """Let time pass, and run the timers that are due, in their order."""
        until = self.now + seconds
        while due := [timer for timer in self.timers if timer[0] <= until]:
            timer = min(due, key=lambda timer: timer[0])
            self.timers.remove(timer)
            self.now = max(self.now, timer[0])
            timer[1]()
        self.now = until

    def run_user_code(self, piece):
        self.user_code.append(piece)

    def handle_record(self, record):
        self.records.append(record)

    def close(self):
        self.stopped = True

    def ended(self):
        pass

    # -- the selector -------------------------------------------------------------------------------------------------

    def add(self, fd, act):
        self.acts[fd] = act

    def change(self, fd, act, *, writing=False):
        assert fd in self.acts
        self.acts[fd] = act
        self.writing.discard(fd)
        if writing:
            self.writing.add(fd)

    def remove(self, fd):
        self.acts.pop(fd, None)
        self.writing.discard(fd)


class FarEnd:
    """The worker's end of its sockets and its page; the test is the worker."""

    def __init__(self, fds):
        frames, descriptors, self.page_fd = map(os.dup, fds)
        self.sock, descriptors = socket.socket(fileno=frames), socket.socket(fileno=descriptors)
        self.page = SharedPage(self.page_fd)
        self.descriptors = Descriptors(descriptors, Reserve())
        self.reader = Reader(self.sock, self.page.down, self.descriptors)

    def frames(self, kind=None):
        """Return what has come since the last time, or only the frames of one kind."""
        found = []
        with contextlib.suppress(BlockingIOError, EOFError):
            while True:
                found += self.reader.read(flags=DONT_WAIT)
        return found if kind is None else [frame for frame in found if frame.__class__ is kind]

    def say(self, *frames):
        for frame in frames:
            data = encode(frame)
            self.sock.sendall(len(data).to_bytes(4, "little") + data)

    def start(self, call, since):
        """Mark a call as started, at a time of the fake clock; return whether it may run."""
        marks = self.page.loop if call.function.lane else self.page
        may_run = marks.start(call.number)
        marks._times[marks._since] = since
        return may_run

    def mark(self, call, since):
        """Mark a call as started, at a time of the fake clock, and do not look yet whether it was recalled."""
        marks = self.page.loop if call.function.lane else self.page
        marks._words[marks._started], marks._times[marks._since] = call.number, since

    def run(self, call):
        """Note that a marked call had not been recalled."""
        marks = self.page.loop if call.function.lane else self.page
        marks._words[marks._runs] = call.number

    def hang_up(self):
        self.sock.shutdown(socket.SHUT_RDWR)

    def close(self):
        self.page.close()
        self.descriptors.reserve.lend()
        self.descriptors.close()
        self.sock.close()
        os.close(self.page_fd)


class FakeForkServer:
    """Starts no processes; reports what the test says."""

    def __init__(self, made):
        self.made = made
        self.socket, self._other = socket.socketpair()
        self.path = import_path()
        self.answers = False
        self.pid = 0
        self.error = None  # raised by the next spawn
        self.far_ends = {}
        self.killed = []
        self.dumped = []
        self.said = []
        self.is_gone = self.is_closed = False
        self.reads = True

    def flush(self):
        return self.reads

    def spawn(self, number, fds, settings):
        if self.error is not None:
            raise self.error
        self.far_ends[number] = FarEnd(fds)

    def kill(self, number, signal):
        self.killed.append((number, signal))

    def dump(self, number, thread):
        self.dumped.append((number, thread))

    def reports(self):
        said, self.said = self.said, []
        yield from said
        if self.is_gone:
            raise EOFError

    def close(self):
        self.is_closed = True
        self.socket.close()
        self._other.close()

    forget = close


class Receiver:
    """Keeps the outcomes of a call."""

    def __init__(self):
        self.outcomes = []

    def deliver(self, call, payload):
        self.outcomes.append(bytes(payload))

    def deliver_context(self, call, context, payload):
        self.outcomes.append((context, bytes(payload)))

    def deliver_failure(self, call, payload):
        self.outcomes.append(payload)


class StreamReceiver(Receiver, Pulled):
    """The receiver of a stream, whose consumer is the test."""

    def __init__(self):
        super().__init__()
        self.items = []
        self.is_open = False

    def deliver_start(self, call):
        self.is_open = True

    def deliver_item(self, call, frame):
        self.items.append(bytes(frame.payload))


class Fake:
    """
    One engine, its fork server, and what the test submits.

    :param limit: maximum number of workers
    :param permits: idle workers get permits; else only if a test grants them
    """

    def __init__(self, monkeypatch, limit=1, *, permits=False, **options):
        self.fork_servers = []
        self.all_far_ends = []
        monkeypatch.setattr(forks, "ForkServer", self._make_fork_server)
        monkeypatch.setattr(forks, "kill", lambda pid, number: self.killed_processes.append((pid, number)))
        self.killed_processes = []
        self.ends = 0
        settings = {
            "initializer": None,
            "initializer_timeout": None,
            "calls_limit": None,
            "threads": 1,
            "coroutines": 100,
            "guest": None,
            "policy": None,
        }
        kind = type("FakeRounds", (Rounds,), {"loop_type": FakeLoop})
        self.rounds = kind(limit, on_end=self._note_end, **settings | options)
        self.rounds.scheduler.balancing.grants_permits = permits
        self.loop, self.dispatcher, self.scheduler = self.rounds.loop, self.rounds.dispatcher, self.rounds.scheduler
        self.supervisor, self.cancellation = self.rounds.supervisor, self.rounds.cancellation
        self.outcomes, self.nested = self.rounds.outcomes, self.dispatcher.nested
        self.functions = {}
        self.names = itertools.count(1)

    def _make_fork_server(self, *made, is_peer):
        self.fork_servers.append(FakeForkServer(made))
        return self.fork_servers[-1]

    def _note_end(self):
        self.ends += 1

    @property
    def fork_server(self):
        return self.fork_servers[-1]

    @property
    def killed(self):
        """The workers that were sent a signal, with its number."""
        return [killed for server in self.fork_servers for killed in server.killed]

    @property
    def workers(self):
        return list(self.supervisor.workers.values())

    def function(self, name="f", lane=MAIN):
        """Return a function that is known to be fast, so that calls of it are sent ahead."""
        if (name, lane) not in self.functions:
            self.functions[name, lane] = Function(name.encode(), name, lane)
            self.functions[name, lane].seconds = 1e-4
        return self.functions[name, lane]

    def call(self, name="f", lane=MAIN, receiver=None, parent=0, payload=b"args", **options):
        given = TaskOptions(**options) if options else None
        return Call(self.function(name, lane), payload, receiver or Receiver(), given, parent)

    def submit(self, *calls):
        """Submit calls, and run a round."""
        for call in calls:
            self.dispatcher.submit(call)
        self.round()
        return calls[0] if len(calls) == 1 else calls

    def round(self):
        return self.rounds.step()

    def far(self, worker):
        return next(server.far_ends[worker.id] for server in self.fork_servers if worker.id in server.far_ends)

    def running(self, name="f", lane=MAIN, **options):
        """Submit a call and have its worker start it; return the call, the worker and its far end."""
        call = self.submit(self.call(name, lane, **options))
        worker = call.place.target
        far = self.far(worker)
        assert far.start(call, self.loop.now)
        far.frames()
        return call, worker, far

    def coroutine(self, **options):
        return self.running(lane=ASYNCIO, **options)

    def hear(self, worker):
        """Do what the selector does when the worker's socket can be read."""
        return self.loop.acts[worker.sock.fileno()]()

    def tell(self, worker, *frames):
        """Have a worker send frames, have them handled, and run a round."""
        self.far(worker).say(*frames)
        self.hear(worker)
        self.round()

    def report(self, *reports):
        """Have the fork server report."""
        self.fork_server.said += reports
        self.loop.acts[self.fork_server.socket.fileno()]()

    def close(self):
        """Let go of all that is open."""
        self.supervisor.close()
        for server in self.fork_servers:
            server.close()
            for far in server.far_ends.values():
                far.close()
