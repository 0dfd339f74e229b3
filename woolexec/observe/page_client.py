"""Requests to the page of a pool: for its statistics, for the stacks of its tasks, and to cancel a task."""

from __future__ import annotations

import http.client
import json
from contextlib import closing
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from woolexec.core.task_stack import Stacks, TaskStack
from woolexec.statistics import Statistics

if TYPE_CHECKING:
    from woolexec.observe.pool_records import PoolRecord


def statistics_of(pool: PoolRecord, timeout: float) -> Statistics | None:
    """Return the statistics of a pool; None if it has ended, or does not answer in time."""
    data = _ask(pool, "/statistics", timeout)
    return None if data is None else Statistics.from_dict(data)


def stacks_of(pool: PoolRecord, timeout: float) -> Stacks:
    """Return the stacks of the tasks of a pool; empty if it does not answer in time."""
    return Stacks(TaskStack(**each) for each in _ask(pool, "/stacks", timeout) or ())


def cancel(pool: PoolRecord, task: int, pid: int, timeout: float) -> bool:
    """Cancel a task that a worker of a pool runs, by force; return whether it was running."""
    return bool(_ask(pool, "/cancel", timeout, f"&task={task}&pid={pid}"))


def _ask(pool: PoolRecord, path: str, timeout: float, act: str = "") -> Any:
    url = urlsplit(pool.url)
    assert url.hostname is not None
    connection = http.client.HTTPConnection(url.hostname, url.port, timeout=timeout)
    try:
        with closing(connection):
            headers = {"Authorization": f"Bearer {pool.key}"} if act else {}
            connection.request("POST" if act else "GET", f"{path}?{url.query}{act}", headers=headers)
            answer = connection.getresponse()
            return json.loads(answer.read()) if answer.status == http.client.OK else None
    except (OSError, http.client.HTTPException, ValueError):
        return None
