"""
`PeerPoolExecutor`: the interface of the standard library's executors.

The path of a task: `submit` pickles function and arguments in the caller's thread, creates the call and its future, and
hands the call to the engine; the engine sends it to a worker and delivers the outcome to the future; the future decodes
the outcome when ``result()`` or ``exception()`` is called.
"""

from __future__ import annotations

import sys
import weakref

from woolexec.errors import PlatformError

if sys.platform == "win32":  # before the imports that would fail there with another error
    raise PlatformError("woolexec's pool needs Unix sockets that carry descriptors; on Windows run it inside WSL 2")

from woolexec.api.ending import EndingExecutor
from woolexec.api.engine_submission import EngineSubmission
from woolexec.api.parameters import (
    RESULTS,
    byte_limit,
    check_credentials,
    check_placement,
    checked_environment,
    first_call,
    for_peers,
    links_to,
    mark_of,
    modules_of,
    offer_of,
    output_choice,
    page_of,
    setup_of,
    store_limits,
    terminal_for,
    upkeep_of,
    worker_limit,
)
from woolexec.checks import count, integer, positive_seconds, seconds
from woolexec.cpus import usable_cpus
from woolexec.engine.dispatcher import FORKED_CHILD
from woolexec.engine.engine import Engine
from woolexec.engine.lane import COROUTINES
from woolexec.futures.call_future import CallFuture

TYPE_CHECKING = False
if TYPE_CHECKING:
    import os
    from collections.abc import Callable, Iterable, Mapping
    from contextvars import Token
    from typing import Any, Literal

    from woolexec.api.parameters import PeersArgument
    from woolexec.core.policies import Placement
    from woolexec.mesh.client.code_archive import Shippable
    from woolexec.mesh.security.credentials import Credentials


class PeerPoolExecutor(EndingExecutor):
    """
    A pool of worker processes that runs calls, as `concurrent.futures.ProcessPoolExecutor` does.

    :param max_workers: maximum number of worker processes; they are started when needed.  None: the number of
        processors that this process may use, according to its affinity and its cgroup's quota
    :param mp_context: accepted for compatibility with the standard library, and ignored: workers are forked from a
        fresh fork server process, which inherits none of the caller's memory, threads or locks
    :param initializer: run by each worker before its first call.  If it raises, the executor is broken and every future
        raises `InitializerError`, a `BrokenProcessPool`.  A worker of a peer runs it before the first task that it
        receives from this executor; if it raises there, the tasks that are sent to that worker fail
    :param initargs: arguments of the initializer
    :param max_tasks_per_child: number of calls after which a worker is replaced; None: never
    :param initializer_timeout: seconds that the initializer may take; None: no limit
    :param max_coroutines: maximum number of coroutines and streams that one worker runs at once; more wait
    :param peers: peers that also run tasks: an address, ``host:port`` or ``unix:/path``; a URL of a discovery,
        ``local://``, ``lan://pool``, ``dir:/folder``, ``dns://name:port`` or ``ssh://user@host/workers``; a
        `Discovery`; or several of these.  With `peers`, `max_workers` is the number of additional workers on this
        machine, 0 by default
    :param credentials: what this process and its peers use to authenticate each other; None: the files that
        WOOLEXEC_TOKEN_FILE, WOOLEXEC_TLS_CA, WOOLEXEC_TLS_CERT and WOOLEXEC_TLS_KEY name, or else the token that all
        processes of this user share on this machine
    :param peers_timeout: seconds that tasks wait while no peer is connected, before they raise `NoPeersError`; None: no
        limit
    :param placement: chooses the peer for each task: `RoundRobin`, `LeastOutstanding`, `PowerOfTwoChoices`, or another
        `Placement`; None: a peer that is known to have a free place, preferably on this host.  Workers on this machine
        are preferred to peers
    :param ship: modules that are sent to each peer once: a module, its name, or the path of its file or folder; or
        several of these.  The whole package is sent.  A worker that has imported another version of it drops that one
    :param on_worker_start: run by each worker before the initializer, without arguments, under the initializer's rules:
        meant for library settings that the caller has made too, such as `numpy.seterr` or options of pandas
    :param results: which results are accepted from peers and from nested tasks: ``"pickle"``: any object; unpickling it
        may run any code that the peer has chosen; ``"plain"``: only numbers, text, bytes, containers, dates, paths, and
        arrays of numpy and Arrow; any other result raises `pickle.UnpicklingError` for its task, and an exception that
        is neither Python's nor woolexec's becomes a `RemoteError`
    :param store_limit: maximum size, in bytes, of the values in memory that were `put`; None: 30 % of the memory that
        this process may use
    :param spill_dir: folder for the values that exceed `store_limit`; they are removed when they are no longer needed,
        like those in memory; None: `put` raises `StoreFullError`
    :param lineage_limit: maximum size, in bytes, of the arguments that are held to run tasks again whose values stay
        with peers (see `keep` of `with_options`); the oldest are dropped beyond it; None: a tenth of the memory that
        this process may use
    :param compression: how large payloads are compressed between this process and peers on other hosts: ``"auto"``: in
        the best format that both ends have, where that takes less time than it saves; ``"zstd"`` or ``"lz4"``: only in
        that format; ``"off"`` or None: not at all
    :param max_memory_per_child: memory above which a worker is replaced after its call: bytes, or a size such as
        ``"2 GiB"``; None: no limit
    :param memory_limit: memory above which a worker is ended during its call, which then raises `WorkerMemoryError`; a
        worker is also ended when the cgroup's memory is nearly full; None: no limit
    :param idle_timeout: seconds after which an idle worker is ended; workers are started again when they are needed;
        None: idle workers stay
    :param min_workers: number of workers that stay although they are idle
    :param finalizer: called without arguments by each worker before it exits, unless it is ended by force; it may take
        ten seconds
    :param environment: environment variables of the workers, in addition to those of this process
    :param output: where the standard output and standard error of tasks go, including those of C code and of processes
        that tasks start: ``"caller"``: to `sys.stdout` and `sys.stderr` of this process, in whole lines, and in a
        notebook to the cell that submitted the task; None: to the output of this process, or of the peer; ``"auto"``:
        like ``"caller"`` in a notebook and from peers, otherwise like None
    :param prefix: what is written before each of these lines: a text with the fields ``{name}``, ``{task}``, ``{pid}``
        and ``{host}``; ``"auto"``: ``"({name} pid={pid}) "``, with the host if it is another one, while more than one
        task prints; None: nothing
    :param resources: amounts that tasks may `require` of the workers on this machine: ``{"gpu": 2, "db": 5}``.  A task
        holds what it requires while it runs; the worker of a task that requires ``gpu`` sees only that task's devices
    :param max_outstanding: number of unfinished tasks, items of `map` included, at which `submit` and `map` wait, as do
        `run` and `map_async` in an event loop; in an event loop `submit` raises `PoolFullError` instead.  Nested tasks
        and tasks that done-callbacks submit never wait; None: no limit
    :param slow_after: seconds after which a warning names a running task, once, if it has also run ten times longer
        than 95 % of the calls of its function; None: never
    :param debug: let `breakpoint` and `pdb.set_trace` in tasks on this machine use the terminal, one task at a time, if
        the terminal is the standard input of this program; otherwise they raise an error
    :param dashboard: serve a page, at `dashboard_url`, that shows what the pool does: True: at any free port of
        127.0.0.1; a text: at this ``host:port``, where port 0 is any free port; None: as WOOLEXEC_DASHBOARD says, or
        no page.  It needs ``pip install 'woolexec[web]'``
    :raises ValueError: if a number is not above 0, `peers` is empty, a module cannot be shipped, or `results` has
        another value
    :raises CredentialsError: if a token or a certificate cannot be used
    :raises TypeError: for an argument of the wrong type
    """

    def __init__(
        self,
        max_workers: int | None = None,
        mp_context: object = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        *,
        max_tasks_per_child: int | None = None,
        initializer_timeout: float | None = 60.0,
        max_coroutines: int = COROUTINES,
        peers: PeersArgument | None = None,
        credentials: Credentials | None = None,
        peers_timeout: float | None = 60.0,
        placement: Placement | None = None,
        ship: Shippable | Iterable[Shippable] = (),
        on_worker_start: Callable[[], object] | None = None,
        results: Literal["pickle", "plain"] = "pickle",
        store_limit: int | None = None,
        spill_dir: str | os.PathLike[str] | None = None,
        lineage_limit: int | None = None,
        compression: str | None = "auto",
        max_memory_per_child: int | str | None = None,
        memory_limit: int | str | None = None,
        idle_timeout: float | None = None,
        min_workers: int = 0,
        finalizer: Callable[[], object] | None = None,
        environment: Mapping[str, str] | None = None,
        output: Literal["auto", "caller"] | None = "auto",
        prefix: str | None = "auto",
        max_outstanding: int | None = None,
        debug: bool = False,
        dashboard: bool | str | None = None,
        resources: Mapping[str, float] | None = None,
        slow_after: float | None = 10.0,
    ) -> None:
        limit = worker_limit(max_workers, has_peers=peers is not None)
        kept = [on_worker_start, initializer, initargs]
        first = first_call(on_worker_start, initializer, initargs, kept)
        if max_tasks_per_child is not None:
            max_tasks_per_child = count("max_tasks_per_child", max_tasks_per_child, "an integer or None")
        max_coroutines = count("max_coroutines", max_coroutines)
        initializer_timeout = positive_seconds("initializer_timeout", initializer_timeout)
        peers_timeout = positive_seconds("peers_timeout", peers_timeout)
        slow_after = positive_seconds("slow_after", slow_after)
        check_placement(placement)
        check_credentials(credentials)
        mark = mark_of(results)
        limits, lineage_limit = store_limits(store_limit, spill_dir), byte_limit("lineage_limit", lineage_limit)
        modules = modules_of(ship)
        if max_outstanding is not None:
            max_outstanding = count("max_outstanding", max_outstanding, "an integer or None")
        offer = offer_of(resources, limit)
        upkeep = upkeep_of(max_memory_per_child, memory_limit, idle_timeout, min_workers, finalizer)
        given = checked_environment(environment)
        variables = given | terminal_for(debug=debug)
        if mark is not None:
            variables[RESULTS] = results
        choice = output_choice(output, prefix, has_peers=peers is not None)
        self._options = None
        self._local_limit, self._max_workers = limit, max(1, limit)
        self._peers = setup = None
        if peers is not None:
            setup, code = setup_of(modules, first, initializer_timeout)
            self._peers = links_to(peers, credentials, peers_timeout, setup, code.get, compression)
        self._outer: list[Token[Any]] = []
        self._engine = Engine(
            limit,
            initializer=first,
            initializer_timeout=initializer_timeout,
            calls_limit=max_tasks_per_child,
            threads=max(1, usable_cpus() // self._max_workers),
            coroutines=max_coroutines,
            guest=self._peers,
            policy=placement,
            mark=mark,
            variables=variables,
            upkeep=upkeep,
            slow_after=slow_after,
            offer=offer,
        )
        self._engine.first = kept
        self._finalizer = weakref.finalize(self, _abandon, self._engine)  # first: the engine's thread may start below
        self._finalizer.atexit = False
        if choice is not None:
            choice.connect(self._engine, trusts_peers=mark is None)
        if self._peers is not None:
            self._engine.links.lineage.room.limit = lineage_limit
            self._engine.links.upkeep.tell(upkeep, given, for_peers(upkeep, setup))
        future = CallFuture if choice is None else choice.future
        if max_outstanding is None:
            self._submission = EngineSubmission(self._engine, self._max_workers, limits, future)
        else:
            from woolexec.api.gated_submission import gated

            self._submission = gated(max_outstanding, self._engine, self._max_workers, limits, future)
        self._submission.has_peers = self._peers is not None
        self._page = page_of(self, dashboard)

    @property
    def _pool(self) -> PeerPoolExecutor:  # type: ignore[override]  # an attribute would be a reference cycle
        return self

    def wait_for_peers(self, count: int = 1, timeout: float | None = None) -> int:
        """
        Wait until at least `count` peers are connected.

        :return: the number of connected peers
        :raises TimeoutError: if fewer are connected after `timeout` seconds; the message says why
        :raises ValueError: if this executor has no peers
        :raises RuntimeError: in a forked child
        """
        if self._peers is None:
            raise ValueError("cannot wait for peers: this executor was created without peers=")
        if self._engine.forked:
            raise RuntimeError(FORKED_CHILD)
        return self._peers.wait(integer("count", count), seconds("timeout", timeout))

    @property
    def dashboard_url(self) -> str | None:
        """The URL of the dashboard, with the token that it asks for; None if there is no dashboard."""
        return None if self._page is None else self._page.url


def _abandon(engine: Engine) -> None:
    engine.shutdown(wait=False, cancel=False, close_streams=False)  # open streams can still be pulled to their end
