"""The page of an executor: its data, and its address."""

from __future__ import annotations

import logging
import os
import sys
import weakref
from time import time
from typing import TYPE_CHECKING, Any

from woolexec.observe.page_data import page_data

if TYPE_CHECKING:
    from woolexec.observe.dashboard import Dashboard

VARIABLE = "WOOLEXEC_DASHBOARD"
"""The environment variable that makes every executor serve its page: an address, or 1."""

_ANYWHERE = ("127.0.0.1", 0)


def address_of(dashboard: object) -> tuple[str, int] | None:
    """
    Return host and port for the value of ``dashboard=``; None: no page.

    :raises TypeError: if it is neither a string, a bool nor None
    :raises ValueError: if it is not an address
    """
    if dashboard is None or isinstance(dashboard, bool):
        return _ANYWHERE if dashboard else None
    if not isinstance(dashboard, str):
        raise TypeError(f"dashboard must be True, an address or None, not {type(dashboard).__name__}")
    host, colon, port = dashboard.rpartition(":")
    if not (colon and host and port.isascii() and port.isdecimal() and int(port) < 65536):
        raise ValueError(f"dashboard must be host:port, such as 127.0.0.1:8787, not {dashboard!r}")
    return host.removeprefix("[").removesuffix("]"), int(port)


def open_page(pool: Any, dashboard: object) -> Dashboard | None:
    """
    Open the page of an executor, if it is requested.

    :param dashboard: the argument of the executor; None: the environment variable decides
    :raises ImportError: if a package for it is missing
    :raises OSError: if it cannot listen on the address
    """
    if dashboard is not None:
        address = address_of(dashboard)
        return None if address is None else _open(pool, address)
    value = os.environ[VARIABLE]
    try:
        page = _open(pool, _ANYWHERE if value in {"1", "true"} else address_of(value) or _ANYWHERE)
    except (ImportError, OSError, ValueError) as exc:  # a program must not fail because of its page
        logging.getLogger("woolexec").warning("no page, although %s=%s: %s", VARIABLE, value, exc)
        return None
    sys.stderr.write(f"woolexec: the page of this pool is {page.url}\n")
    return page


def _open(pool: Any, address: tuple[str, int]) -> Dashboard:
    try:
        from woolexec.observe.dashboard import Dashboard
    except ModuleNotFoundError as exc:
        raise ImportError(f"dashboard= needs the package {exc.name}: pip install 'woolexec[web]'") from exc
    source = _Source(pool)
    page = Dashboard(address, source.snapshot, source.stacks, source.statistics, source.cancel)
    logging.getLogger("woolexec").info("the page of this pool is %s", page.url)
    return page


class _Source:
    """The data that a page shows of an executor, without keeping the executor alive."""

    def __init__(self, pool: Any) -> None:
        self._pool = weakref.ref(pool)
        self._started = time()

    def snapshot(self) -> dict[str, Any] | None:
        """Return a snapshot; None: the pool has ended."""
        pool = self._pool()
        if pool is None or pool._engine.stopped:
            return None
        return page_data(pool.statistics(), self._started)

    def statistics(self) -> dict[str, Any] | None:
        """Return statistics, whole; None: the pool has ended."""
        pool = self._pool()
        return None if pool is None or pool._engine.stopped else pool.statistics().as_dict()

    def stacks(self) -> list[dict[str, Any]]:
        """Return the stacks of the running tasks."""
        pool = self._pool()
        return [] if pool is None else pool.stacks().as_dict()

    def cancel(self, task: int, pid: int) -> bool:
        """Cancel a task that a worker here runs, by force; return False if it does not run."""
        pool = self._pool()
        return pool is not None and bool(pool._engine.end_task(task, pid))
