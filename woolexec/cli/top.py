"""``woolexec top``: what the pools of this user on this machine do."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

from woolexec.cli.top_screen import heading_of
from woolexec.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from woolexec.observe.pool_records import PoolRecord
    from woolexec.statistics import Statistics

_NO_PAGE = "make it with dashboard=True, or start the program with WOOLEXEC_DASHBOARD=1"


def run(arguments: argparse.Namespace) -> int:
    """Show what pools do; return exit code 2 if nothing could be asked."""
    from woolexec.errors import CredentialsError

    try:
        found = _answers(_chosen(arguments.pid), arguments.timeout)
    except (CredentialsError, LookupError) as exc:
        return _fail(exc.args[0])
    if not found:
        return _fail("no pool has answered")
    if arguments.json:
        print(json.dumps([each.as_dict() for _, each in found], indent=2))
    elif arguments.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("\n\n".join(f"{heading_of(each)}\n{each}" for _, each in found))
    else:
        return _live(arguments)
    return 0


def _live(arguments: argparse.Namespace) -> int:
    from woolexec.cli.top_live import show
    from woolexec.errors import CredentialsError

    def ask() -> list[tuple[PoolRecord, Statistics]]:
        try:
            return _answers(_chosen(arguments.pid, are_needed=False), arguments.timeout)
        except CredentialsError:
            return []

    try:
        show(ask, arguments.timeout)
    except ImportError as exc:
        return _fail(str(exc))
    return 0


def _fail(text: str) -> int:
    print(f"woolexec top: {printable(text, 2000)}", file=sys.stderr)
    return 2


def _chosen(pids: Sequence[int], *, are_needed: bool = True) -> list[PoolRecord]:
    """
    Return the pools of these processes; without any those of all processes.

    :param are_needed: it is an error if there are none
    :raises LookupError: if there are none
    :raises CredentialsError: if other users can access the records
    """
    from woolexec.observe.pool_records import records

    found = records()
    for pid in pids if are_needed else ():
        if all(each.pid != pid for each in found):
            raise LookupError(f"process {pid} is none of this user that has a pool with a page: {_NO_PAGE}")
    if are_needed and not found:
        raise LookupError(f"no pool of this user on this machine has a page: {_NO_PAGE}")
    return [each for each in found if not pids or each.pid in pids]


def _answers(pools: Sequence[PoolRecord], timeout: float) -> list[tuple[PoolRecord, Statistics]]:
    """Return what the pools do, of those that answer."""
    from concurrent.futures import ThreadPoolExecutor

    from woolexec.observe.page_client import statistics_of

    with ThreadPoolExecutor(16) as threads:
        found = list(threads.map(lambda pool: statistics_of(pool, timeout), pools))
    return [(pool, each) for pool, each in zip(pools, found, strict=True) if each is not None]
