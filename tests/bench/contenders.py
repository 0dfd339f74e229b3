"""
Who is measured: each pool behind the same four calls.

Every third-party import stands inside its `open_*` function, so that the process of one contender never loads another.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import importlib.util
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from . import work

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

WARM_TRIES = 50
WARM_NAP = 0.02


class Pool(Protocol):
    """The four calls that a workload makes; `submit` is the contender's own bound method wherever it can be."""

    @property
    def submit(self) -> Callable[..., Any]:
        """Submit `(fn, *args)`."""

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        """Return the results of what `submit` returned, in that order."""

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        """Return the results in order; without `chunksize` with the contender's default arguments."""

    def close(self, *, cancel: bool = False) -> None:
        """Stop the workers; with `cancel` without running what has not started."""


class ExecutorPool:
    """Any `concurrent.futures.Executor`."""

    def __init__(self, executor: Any) -> None:
        self.executor = executor
        self.submit = executor.submit
        if hasattr(executor, "put"):
            self.put = executor.put

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [future.result() for future in handles]

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        if chunksize is None:
            return list(self.executor.map(fn, items))
        return list(self.executor.map(fn, items, chunksize=chunksize))

    def close(self, *, cancel: bool = False) -> None:
        self.executor.shutdown(wait=True, cancel_futures=cancel)


class LokyPool(ExecutorPool):
    """loky: an executor whose `shutdown` knows no `cancel_futures`."""

    def close(self, *, cancel: bool = False) -> None:
        self.executor.shutdown(wait=True, kill_workers=cancel)


class MultiprocessingPool:
    """`multiprocessing.Pool`."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._pool.apply_async(fn, args)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [handle.get() for handle in handles]

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        return self._pool.map(fn, items, chunksize)

    def close(self, *, cancel: bool = False) -> None:
        self._pool.terminate() if cancel else self._pool.close()
        self._pool.join()


class MpirePool:
    """mpire."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._pool.apply_async(fn, args)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [handle.get() for handle in handles]

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        # Without `concatenate_numpy_output` off it would join arrays, which no other contender does.
        return self._pool.map(fn, items, chunk_size=chunksize, concatenate_numpy_output=False)

    def close(self, *, cancel: bool = False) -> None:
        self._pool.terminate() if cancel else self._pool.stop_and_join()


class PebblePool:
    """pebble."""

    def __init__(self, pool: Any) -> None:
        self._pool = pool

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._pool.schedule(fn, args=args)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return [future.result() for future in handles]

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        options = {} if chunksize is None else {"chunksize": chunksize}
        return list(self._pool.map(fn, items, **options).result())

    def close(self, *, cancel: bool = False) -> None:
        self._pool.stop() if cancel else self._pool.close()
        self._pool.join()


class DistexPool:
    """distex: its loop runs only while somebody waits, so `submit` makes a task of that loop."""

    def __init__(self, pool: Any, loop: Any) -> None:
        self._pool = pool
        self._loop = loop

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._loop.create_task(self._pool.run_async(fn, *args))

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        import asyncio

        async def together() -> list[Any]:
            return await asyncio.gather(*handles)

        return self._loop.run_until_complete(together())

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        options = {} if chunksize is None else {"chunksize": chunksize}
        return list(self._pool.map(fn, items, **options))

    def close(self, *, cancel: bool = False) -> None:
        self._pool.shutdown()


class WoolPool:
    """wool: a coroutine for each task, and what runs them must be told of the pool by its context."""

    def __init__(self, workers: int) -> None:
        import asyncio
        import contextvars

        import wool

        async def call(fn: Callable[..., Any], args: tuple[Any, ...]) -> Any:
            return fn(*args)

        self._call = wool.routine(call)
        self._pool = wool.WorkerPool(spawn=workers)
        self._runner, self._context = asyncio.Runner(), contextvars.copy_context()
        self._run(self._pool.__aenter__)

    def _run(self, fn: Callable[..., Any], *args: Any) -> Any:
        async def run() -> Any:
            return await fn(*args)

        return self._runner.run(run(), context=self._context)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._call(fn, args)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        import asyncio

        return self._run(asyncio.gather, *handles)

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        return self.gather([self.submit(fn, item) for item in items])  # it has none of its own

    def close(self, *, cancel: bool = False) -> None:
        self._run(self._pool.__aexit__, None, None, None)
        self._runner.close()


class JoblibPool:
    """joblib, whose tasks are run when their results are asked for; large arrays go to them as memory maps."""

    def __init__(self, workers: int) -> None:
        from joblib import Parallel

        self._parallel = Parallel(n_jobs=workers)
        self._parallel.__enter__()

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return fn, args, {}

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return list(self._parallel(handles))

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        return self.gather([self.submit(fn, item) for item in items])

    def close(self, *, cancel: bool = False) -> None:
        self._parallel.__exit__(None, None, None)
        from joblib.externals.loky import get_reusable_executor

        get_reusable_executor().shutdown(wait=True, kill_workers=True)


class DaskPool:
    """The scheduler of distributed, with a process for each worker."""

    def __init__(self, workers: int) -> None:
        from distributed import Client

        self._client = Client(n_workers=workers, threads_per_worker=1, dashboard_address=None)

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._client.submit(fn, *args, pure=False)

    def put(self, value: Any) -> Any:
        return self._client.scatter(value, broadcast=True)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return list(self._client.gather(handles))

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        return self.gather(self._client.map(fn, items, pure=False))

    def close(self, *, cancel: bool = False) -> None:
        self._client.close()
        self._client.cluster.close()


class RayPool:
    """Ray on this machine."""

    def __init__(self, workers: int) -> None:
        import ray

        self._ray = ray
        ray.init(num_cpus=workers, include_dashboard=False, log_to_driver=False, configure_logging=False)
        self._call = ray.remote(lambda fn, *args: fn(*args))

    def submit(self, fn: Callable[..., Any], *args: Any) -> Any:
        return self._call.remote(fn, *args)

    def put(self, value: Any) -> Any:
        return self._ray.put(value)

    def gather(self, handles: Sequence[Any]) -> list[Any]:
        return list(self._ray.get(list(handles)))

    def map(self, fn: Callable[..., Any], items: Sequence[Any], chunksize: int | None = None) -> list[Any]:
        return self.gather([self.submit(fn, item) for item in items])

    def close(self, *, cancel: bool = False) -> None:
        self._ray.shutdown()


@dataclass(frozen=True, slots=True)
class FirstResult:
    """The lines that a fresh program needs until its first result; `pool` is what the last one calls it."""

    imports: str
    construct: str
    result: str = "pool.submit(abs, -1).result()"
    close: str = "pool.shutdown()"


@dataclass(frozen=True, slots=True)
class Contender:
    """
    One pool of the comparison.

    :param open: makes the pool with that many workers
    :param requires: the module that must be importable; `None` for what Python brings along
    :param optional: joins only with `--peers-lib`
    :param is_general: joins workloads that do not name it
    """

    name: str
    open: Callable[[int], Pool]
    first_result: FirstResult | None = None
    requires: str | None = None
    optional: bool = False
    is_general: bool = True

    def missing(self) -> str | None:
        """Say why it cannot take part here, or `None`."""
        if self.requires is not None and importlib.util.find_spec(self.requires) is None:
            return f"{self.requires} is not installed"
        return None

    def version(self) -> str:
        """Return the version of the distribution that provides it."""
        if self.requires is None:
            return sys.version.split()[0]
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            return importlib.metadata.version(self.requires)
        return "source"

    @contextlib.contextmanager
    def warm(self, workers: int, *, cancel: bool = False) -> Iterator[Pool]:
        """Lend a pool whose workers have all run something."""
        pool = self.open(workers)
        try:
            warm_up(pool, workers)
            yield pool
        finally:
            pool.close(cancel=cancel)


def warm_up(pool: Pool, workers: int) -> set[int]:
    """
    Run naps until every worker has taken one, and return the workers' pids.

    :raises RuntimeError: if some worker never took a task
    """
    seen: set[tuple[int, int]] = set()
    for _ in range(WARM_TRIES):
        naps = [pool.submit(work.whoami, WARM_NAP) for _ in range(2 * workers)]
        seen.update(pool.gather(naps))
        if len(seen) >= workers:
            return {pid for pid, _ in seen}
    raise RuntimeError(f"only {len(seen)} of {workers} workers took a task")


def open_woolexec(workers: int) -> Pool:
    from woolexec import PeerPoolExecutor

    return ExecutorPool(PeerPoolExecutor(workers))


def open_stdlib(workers: int) -> Pool:
    from concurrent.futures import ProcessPoolExecutor

    return ExecutorPool(ProcessPoolExecutor(workers))


def open_stdlib_with(method: str) -> Callable[[int], Pool]:
    def opened(workers: int) -> Pool:
        from concurrent.futures import ProcessPoolExecutor
        from multiprocessing import get_context

        return ExecutorPool(ProcessPoolExecutor(workers, mp_context=get_context(method)))

    return opened


def open_threads(workers: int) -> Pool:
    from concurrent.futures import ThreadPoolExecutor

    return ExecutorPool(ThreadPoolExecutor(workers))


def open_multiprocessing(workers: int) -> Pool:
    import multiprocessing

    return MultiprocessingPool(multiprocessing.Pool(workers))


def open_loky(workers: int) -> Pool:
    from loky import ProcessPoolExecutor

    return LokyPool(ProcessPoolExecutor(workers))


def open_mpire(workers: int) -> Pool:
    from mpire import WorkerPool

    return MpirePool(WorkerPool(workers))


def open_pebble(workers: int) -> Pool:
    from pebble import ProcessPool

    return PebblePool(ProcessPool(workers))


def open_distex(workers: int) -> Pool:
    import asyncio

    from distex import Pool as Distex

    loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return DistexPool(Distex(workers), loop)


def _stdlib_first_result(method: str) -> FirstResult:
    return FirstResult(
        imports="from concurrent.futures import ProcessPoolExecutor; from multiprocessing import get_context",
        construct=f"ProcessPoolExecutor(2, mp_context=get_context({method!r}))",
    )


CONTENDERS: tuple[Contender, ...] = (
    Contender(
        "woolexec",
        open_woolexec,
        FirstResult("from woolexec import PeerPoolExecutor", "PeerPoolExecutor(2)"),
        requires="woolexec",
    ),
    # What the asynchronous face is compared with where only our own other face will do.
    Contender("woolexec-sync", open_woolexec, requires="woolexec"),
    Contender(
        "stdlib",
        open_stdlib,
        FirstResult("from concurrent.futures import ProcessPoolExecutor", "ProcessPoolExecutor(2)"),
    ),
    Contender("stdlib-fork", open_stdlib_with("fork"), _stdlib_first_result("fork")),
    Contender("stdlib-spawn", open_stdlib_with("spawn"), _stdlib_first_result("spawn")),
    Contender("stdlib-forkserver", open_stdlib_with("forkserver"), _stdlib_first_result("forkserver")),
    Contender("threads", open_threads),
    Contender(
        "mp.Pool",
        open_multiprocessing,
        FirstResult(
            "from multiprocessing import Pool", "Pool(2)", "pool.apply(abs, (-1,))", "pool.terminate(); pool.join()"
        ),
    ),
    Contender(
        "loky",
        open_loky,
        FirstResult("from loky import ProcessPoolExecutor", "ProcessPoolExecutor(2)"),
        requires="loky",
        optional=True,
    ),
    Contender(
        "mpire",
        open_mpire,
        FirstResult("from mpire import WorkerPool", "WorkerPool(2)", "pool.apply(abs, (-1,))", "pool.terminate()"),
        requires="mpire",
        optional=True,
    ),
    Contender(
        "pebble",
        open_pebble,
        FirstResult(
            "from pebble import ProcessPool",
            "ProcessPool(2)",
            "pool.schedule(abs, args=(-1,)).result()",
            "pool.close(); pool.join()",
        ),
        requires="pebble",
        optional=True,
    ),
    Contender(
        "distex",
        open_distex,
        FirstResult(
            "import asyncio; asyncio.set_event_loop(asyncio.new_event_loop()); from distex import Pool",
            "Pool(2)",
            "pool.run(abs, -1)",
        ),
        requires="distex",
        optional=True,
    ),
    Contender("wool", WoolPool, requires="wool", optional=True),
    Contender("joblib", JoblibPool, requires="joblib", optional=True, is_general=False),
    Contender("dask", DaskPool, requires="distributed", optional=True, is_general=False),
    Contender("ray", RayPool, requires="ray", optional=True, is_general=False),
)


def named(name: str) -> Contender:
    """Return the contender of that name."""
    for contender in CONTENDERS:
        if contender.name == name:
            return contender
    raise ValueError(f"no contender {name!r}; there are: {', '.join(names(CONTENDERS))}")


def names(contenders: Iterable[Contender]) -> list[str]:
    """Return their names, in the table's order."""
    return [contender.name for contender in contenders]
