"""``woolexec top``: what the pools of this user on this machine do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from woolexec.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from woolexec.observe.pool_records import PoolRecord
    from woolexec.statistics import Statistics

_NO_PAGE = "make it with dashboard=True, or start the program with WOOLEXEC_DASHBOARD=1"


def run(arguments: argparse.Namespace) -> int:
    """Print what pools do, once; return exit code 2 if nothing could be asked."""
    from woolexec.errors import CredentialsError

    try:
        pools = _chosen(arguments.pid)
    except (CredentialsError, LookupError) as exc:
        print(f"woolexec top: {printable(exc.args[0], 2000)}", file=sys.stderr)
        return 2
    found = answers(pools, arguments.timeout)
    if not found:
        print("woolexec top: no pool has answered", file=sys.stderr)
        return 2
    if arguments.json:
        print(json.dumps([each.as_dict() for _, each in found], indent=2))
    else:
        print("\n\n".join(f"{heading(each)}\n{each}" for _, each in found))
    return 0


def _chosen(pids: Sequence[int]) -> list[PoolRecord]:
    """
    Return the pools of these processes; without any those of all processes.

    :raises LookupError: if there are none
    :raises CredentialsError: if other users can access the records
    """
    from woolexec.observe.pool_records import records

    found = records()
    for pid in pids:
        if all(each.pid != pid for each in found):
            raise LookupError(f"process {pid} is none of this user that has a pool with a page: {_NO_PAGE}")
    if not found:
        raise LookupError(f"no pool of this user on this machine has a page: {_NO_PAGE}")
    return [each for each in found if not pids or each.pid in pids]


def answers(pools: Sequence[PoolRecord], timeout: float) -> list[tuple[PoolRecord, Statistics]]:
    """Return what the pools do, of those that answer."""
    from concurrent.futures import ThreadPoolExecutor

    from woolexec.observe.page_client import statistics_of

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda pool: statistics_of(pool, timeout), pools))
    return [(pool, each) for pool, each in zip(pools, found, strict=True) if each is not None]


def heading(statistics: Statistics) -> str:
    """Return the line above the tables of a pool."""
    return f"pool of process {statistics.pid} on {printable(statistics.host)}"
