"""
joblib's backend "woolexec".

`Parallel` groups its tasks into batches and submits a batch when an earlier one is done; each is a task of a pool::

    Parallel --batch--> submit --large arguments become values--> run_batch, in a worker
       ^                                                              |
       '---- callback: next batch, and how long they take -- future <-'

Within a task `Parallel` uses the pool that the task runs in, so the main thread that waits there runs nested tasks:
one worker is enough at any depth.  For that reason the waiting thread retrieves results there, not a callback.
"""

from __future__ import annotations

import contextlib
import pickle
import threading
from functools import cached_property, partial
from typing import TYPE_CHECKING, Any

from joblib._parallel_backends import (
    AutoBatchingMixin,
    FallbackToBackend,
    ParallelBackendBase,
    SequentialBackend,
)
from joblib.parallel import parallel_config, register_parallel_backend

from woolexec.api.options_view import EngineExecutor
from woolexec.api.task_executor import current_executor
from woolexec.checks import wrong_type
from woolexec.cpus import usable_cpus
from woolexec.executor import PeerPoolExecutor
from woolexec.integrations.joblib_inputs import LargeArguments
from woolexec.integrations.joblib_tasks import limit_threads, run_batch
from woolexec.platform.posix import renewed_at_fork
from woolexec.worker import nested_tasks

if TYPE_CHECKING:
    from collections.abc import Callable
    from concurrent.futures import Future

_CONNECTING = 5.0
"""Seconds that a call of `Parallel` waits for peers to connect, to know how many tasks can run at once."""


def register(*, make_default: bool = False) -> None:
    """
    Register the backend "woolexec" with joblib, for `parallel_config`, `parallel_backend` and ``Parallel(backend=)``.

    :param make_default: use it where no other backend is selected
    """
    register_parallel_backend("woolexec", WoolexecBackend, make_default=make_default)


class _Backend(AutoBatchingMixin, ParallelBackendBase):  # type: ignore[misc]  # joblib has no types
    """What both backends have in common: tasks are submitted to an executor."""

    MIN_IDEAL_BATCH_DURATION = 0.05  # a call costs less than a tenth of a millisecond
    MAX_IDEAL_BATCH_DURATION = 1.0
    supports_return_generator = True
    supports_timeout = True

    _executor: Any = None
    _places = 1

    def __init__(self, nesting_level: int | None = None, **how: Any) -> None:
        super().__init__(nesting_level=nesting_level, **how)
        self._outstanding: set[Future[Any]] = set()
        self._inputs: LargeArguments | None = None
        self._call = object()  # another one for each call of `Parallel`

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Submit a batch."""
        items = getattr(func, "items", None)
        if items is None:
            future = self._executor.submit(func)
        else:
            if self._inputs is not None:
                items = self._inputs.replace_in(items)
            future = self._executor.submit(run_batch, items, self._context)
        self._outstanding.add(future)
        if callback is not None:
            future.add_done_callback(partial(self._note_end, callback, self._call))
        return future  # type: ignore[no-any-return]  # of an executor of any kind

    apply_async = submit

    def _note_end(self, callback: Callable[[Future[Any]], object], call: object, future: Future[Any]) -> None:
        """Tell `Parallel` of a batch that is done, unless that call has ended; the next one has its own batch size."""
        if call is self._call:
            callback(future)

    @cached_property
    def _context(self) -> bytes:
        """The pickle of what makes `Parallel` use the pool in tasks: see `run_batch`."""
        return pickle.dumps(partial(nested, (self.nesting_level or 0) + 1, self._places))

    def get_nested_backend(self) -> tuple[Any, int | None]:
        """Return the backend for `Parallel` in tasks; the worker makes it: see `run_batch`."""
        return NestedBackend((self.nesting_level or 0) + 1, self._places), None

    def abort_everything(self, ensure_ready: bool = True) -> None:  # noqa: FBT001, FBT002  # joblib's signature
        """Cancel all tasks; running ones are ended with their workers, which are replaced."""
        # joblib's next call would submit the batches that were formed but not submitted yet.
        batches = getattr(self.parallel, "_ready_batches", None)
        while batches is not None and not batches.empty():
            batches.get()
        outstanding, self._outstanding = self._outstanding, set()
        for future in outstanding:
            future.cancel(force=True)  # type: ignore[call-arg]  # it is one of ours

    def terminate(self) -> None:
        """Drop the executor and the values that were put."""
        self._executor = self._inputs = None
        self._call = object()
        self._outstanding.clear()
        self.reset_batch_stats()

    def __reduce__(self) -> tuple[Any, ...]:
        # Within tasks the backend is the pool that they run in.
        return NestedBackend, (self.nesting_level, self._places)


class WoolexecBackend(_Backend):
    """
    Runs tasks in a pool.

    Without other arguments the pool has `n_jobs` workers on this machine, and is kept for the next call.

    :param executor: a `PeerPoolExecutor`, or a view of one
    :param options: arguments of `PeerPoolExecutor`, such as `peers`, for a pool that this backend creates
    """

    supports_retrieve_callback = True
    supports_inner_max_num_threads = True
    default_n_jobs = -1

    def __init__(
        self,
        nesting_level: int | None = None,
        inner_max_num_threads: int | None = None,
        executor: EngineExecutor | None = None,
        **options: Any,
    ) -> None:
        super().__init__(nesting_level, inner_max_num_threads=inner_max_num_threads)
        if executor is not None and not isinstance(executor, EngineExecutor):
            raise wrong_type("executor", "a PeerPoolExecutor or a view of one", executor)
        if executor is not None and (options or inner_max_num_threads is not None):
            raise ValueError("executor= cannot be combined with arguments for a new pool")
        self._given = executor
        self._options = options
        self._own: PeerPoolExecutor | None = None

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at once."""
        _check_jobs(n_jobs)
        places = self._all_places()
        return _jobs(self.default_n_jobs if n_jobs is None else n_jobs, places)

    def _all_places(self) -> int:
        executor = self._given
        if executor is None and self._options:
            executor = self._own_executor()
        return usable_cpus() if executor is None else places_of(executor)

    def configure(
        self,
        n_jobs: int = 1,
        parallel: Any = None,
        max_nbytes: int | None = 1_000_000,
        mmap_mode: str | None = "r",
        **_: object,
    ) -> int:
        """Prepare a call of `Parallel`; return how many tasks run at once."""
        if _in_a_task():
            raise FallbackToBackend(NestedBackend(self.nesting_level, max(2, n_jobs)))
        places = self.effective_n_jobs(n_jobs)
        has_peers = _has_peers(self._given or self._own)
        if places == 1 and not (has_peers and n_jobs != 1):
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._places = places
        self.__dict__.pop("_context", None)
        self._least, self._is_read_only = max_nbytes, mmap_mode == "r"
        if self._given is not None:
            self._executor = self._given
        elif self._options:
            self._executor = self._own_executor()
        else:
            self._executor = _shared(places, self._variables())
        self.start_call()
        return max(2, places)  # joblib runs nothing in the pool if it is 1

    def start_call(self) -> None:
        """Begin a call: values that were put for the last one may have changed since."""
        as_file = None if _has_peers(self._executor) else _as_file
        self._inputs = LargeArguments(self._executor, self._least, as_file, is_read_only=self._is_read_only)

    def retrieve_result_callback(self, future: Future[Any]) -> Any:
        """Return the results of a batch that is done."""
        self._outstanding.discard(future)
        return future.result()

    def _variables(self) -> dict[str, str] | None:
        if self.inner_max_num_threads is None:
            return None
        variables: dict[str, str] = self._prepare_worker_env(n_jobs=1)
        return variables

    def _own_executor(self) -> PeerPoolExecutor:
        if self._own is None:
            options, variables = dict(self._options), self._variables()
            if variables is not None:
                options["on_worker_start"] = partial(limit_threads, variables, options.get("on_worker_start"))
            self._own = PeerPoolExecutor(**options)
        return self._own


class NestedBackend(_Backend):
    """
    Runs nested tasks in the pool that the calling task runs in.

    :param places: how many tasks the pool can run at once
    """

    supports_retrieve_callback = False  # see the module's docstring

    def __init__(self, nesting_level: int | None = None, places: int = 1) -> None:
        super().__init__(nesting_level)
        self._places = places

    def effective_n_jobs(self, n_jobs: int | None) -> int:
        """Return how many tasks run at once."""
        _check_jobs(n_jobs)
        return 1 if n_jobs is None or not _in_a_task() else _jobs(n_jobs, self._places)

    def configure(self, n_jobs: int = 1, parallel: Any = None, **_: object) -> int:
        """Prepare a call of `Parallel`; return how many tasks run at once."""
        n_jobs = self.effective_n_jobs(n_jobs)
        if n_jobs == 1:
            raise FallbackToBackend(SequentialBackend(nesting_level=self.nesting_level))
        self.parallel = parallel
        self._executor, self._job = current_executor(), nested_tasks.current_job()
        return n_jobs

    def submit(self, func: Any, callback: Callable[[Future[Any]], object] | None = None) -> Future[Any]:
        """Submit a batch as a nested task of the task that called `Parallel`, from any thread."""
        token = nested_tasks.current.set(self._job)  # joblib calls this in callbacks, while other tasks run on top
        try:
            return super().submit(func, callback)
        finally:
            nested_tasks.current.reset(token)

    apply_async = submit

    def retrieve_result(self, future: Future[Any], timeout: float | None = None) -> Any:
        """Return the results of a batch; run nested tasks meanwhile."""
        self._outstanding.discard(future)
        return future.result(timeout)


@contextlib.contextmanager
def nested(level: int, places: int) -> Any:
    """Let `Parallel` use the pool that this task runs in, until the block is left."""
    register()  # tasks may name the backend
    with parallel_config(NestedBackend(level, places), n_jobs=None):
        yield


def _check_jobs(n_jobs: int | None) -> None:
    if n_jobs == 0:
        raise ValueError("n_jobs == 0 in Parallel has no meaning")


def _jobs(n_jobs: int, places: int) -> int:
    """Return how many tasks run at once; -1 means all places, -2 all but one."""
    return n_jobs if n_jobs > 0 else max(places + 1 + n_jobs, 1)


def _in_a_task() -> bool:
    return nested_tasks.worker is not None and nested_tasks.current_job() is not None


def _has_peers(executor: EngineExecutor | None) -> bool:
    return executor is not None and getattr(executor._pool, "_peers", None) is not None


def places_of(executor: EngineExecutor) -> int:
    """Return how many tasks an executor can run at once: on this machine, and at the peers that are connected."""
    pool: Any = executor._pool
    if pool._peers is None:
        return int(pool._max_workers)
    expected = pool._peers.possible
    with contextlib.suppress(TimeoutError):
        pool.wait_for_peers(1 if expected == float("inf") else max(1, int(expected)), _CONNECTING)
    return int(pool._local_limit + sum(link.candidate.width for link in pool._peers.links))


def _as_file(value: Any) -> object | None:
    """Return a substitute for an array that is mapped from a file: workers on this machine map the file too."""
    from joblib._memmapping_reducer import _get_backing_memmap, _reduce_memmap_backed

    mapped = _get_backing_memmap(value) if hasattr(value, "__array_finalize__") else None
    if mapped is None or getattr(mapped, "filename", None) is None:
        return None
    return _Reduced(_reduce_memmap_backed(value, mapped))


class _Reduced:
    """Is unpickled as the result of its function."""

    def __init__(self, reduced: tuple[Any, ...]) -> None:
        self._reduced = reduced

    def __reduce__(self) -> tuple[Any, ...]:
        return self._reduced


_latest: tuple[object, PeerPoolExecutor] | None = None
"""The pool that was used last, with the arguments it was created for."""
_choosing = renewed_at_fork(threading.Lock())  # guards `_latest`


def _shared(places: int, variables: dict[str, str] | None) -> PeerPoolExecutor:
    """Return the last call's pool if it fits, otherwise a new one; the old one then ends when nothing uses it."""
    global _latest  # pools outlive backends, because workers take long to import what tasks need
    key = places, variables
    with _choosing:
        if _latest is not None and _latest[0] == key and _latest[1]._submission.is_open:
            return _latest[1]
        start = None if variables is None else partial(limit_threads, variables, None)
        _latest = key, PeerPoolExecutor(places, on_worker_start=start)
        return _latest[1]
