"""``woolexec top``: what the pools of this user on this machine do, and what peers do."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from typing import TYPE_CHECKING

from woolexec.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator, Sequence

    from woolexec.observe.pool_records import PoolRecord
    from woolexec.statistics import Statistics

_NO_PAGE = "make it with dashboard=True, or start the program with WOOLEXEC_DASHBOARD=1"


def run(arguments: argparse.Namespace) -> int:
    """Show what pools and peers do; return exit code 2 if one of them could not be asked."""
    from woolexec.cli.top_screen import heading_of
    from woolexec.errors import CredentialsError, PeerRefusedError

    pids = [int(each) for each in arguments.where if each.isdecimal()]
    addresses = [each for each in arguments.where if not each.isdecimal()]
    found: list[tuple[str, Statistics]] = []
    try:
        if pids or not addresses:
            answers = _answers(_chosen(pids), arguments.timeout)
            if not answers:
                return _fail("no pool has answered")
            found += [(heading_of(each), each) for _, each in answers]
        for address in addresses:
            try:
                found += _of_peer(address, arguments.timeout)
            except (PeerRefusedError, ValueError) as exc:
                return _fail(f"{address}: {exc}")
    except (CredentialsError, LookupError) as exc:
        return _fail(exc.args[0])
    if arguments.json:
        print(json.dumps([each.as_dict() for _, each in found], indent=2))
    elif arguments.once or addresses or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("\n\n".join(f"{heading}\n{each}" for heading, each in found))
    else:
        return _live(pids, arguments.timeout)
    return 0


def _of_peer(address: str, timeout: float) -> Iterator[tuple[str, Statistics]]:
    from woolexec.mesh.client.inspection import ask_status
    from woolexec.mesh.security.credentials import Credentials

    found, left_out = asyncio.run(ask_status(address, Credentials.from_environment(os.environ), timeout))
    for client, each in found:
        yield f"{client} at {printable(address, 200)}", each
    if left_out:
        print(f"woolexec top: {left_out} more clients are left out", file=sys.stderr)


def _live(pids: Sequence[int], timeout: float) -> int:
    from woolexec.cli.top_live import show
    from woolexec.errors import CredentialsError

    def ask() -> list[tuple[PoolRecord, Statistics]]:
        try:
            return _answers(_chosen(pids, are_needed=False), timeout)
        except CredentialsError:
            return []

    try:
        show(ask, timeout)
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
