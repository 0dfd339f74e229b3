"""``woolexec top``: shows what the pools of this user on this machine, and peers, are doing."""

from __future__ import annotations

import json
import os
import sys
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING

from woolexec.printable import printable

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from woolexec.cli.top_sources import PeerThere, Shown
    from woolexec.observe.pool_records import PoolRecord

_NO_PAGE = (
    "make it with dashboard=True, or start the program with WOOLEXEC_DASHBOARD=1; a peer has one with `woolexec serve "
    "--dashboard`"
)


def run(arguments: argparse.Namespace) -> int:
    """Show what pools and peers do; return exit code 2 if one of them could not be asked."""
    from woolexec.cli.top_sources import PeerThere
    from woolexec.errors import CredentialsError
    from woolexec.mesh.security.credentials import Credentials

    pids = [int(each) for each in arguments.where if each.isdecimal()]
    addresses = [each for each in arguments.where if not each.isdecimal()]
    try:
        with ExitStack() as stack:
            credentials = Credentials.from_environment(os.environ) if addresses else Credentials()
            peers = [stack.enter_context(PeerThere(address, credentials, arguments.timeout)) for address in addresses]
            return _show(arguments, pids, peers)
    except (CredentialsError, LookupError, ImportError) as exc:
        return _fail(exc.args[0])


def _show(arguments: argparse.Namespace, pids: Sequence[int], peers: Sequence[PeerThere]) -> int:
    from woolexec.cli.top_sources import pools_here
    from woolexec.errors import PeerRefusedError

    found: list[Shown] = []
    if pids or not peers:
        found += pools_here(_chosen(pids), arguments.timeout)
        if not found:
            return _fail("no pool has answered")
    for peer in peers:
        try:
            found += peer.clients()
        except (PeerRefusedError, ValueError) as exc:
            return _fail(f"{peer.address}: {exc}")
        if peer.left_out:
            print(f"woolexec top: the answer had no room for {peer.left_out} more clients", file=sys.stderr)
    if arguments.web:
        return _web(found, peers)
    if arguments.json:
        print(json.dumps([each.statistics.as_dict() for each in found], indent=2))
    elif arguments.once or not (sys.stdin.isatty() and sys.stdout.isatty()):
        print("\n\n".join(f"{each.heading}\n{each.statistics}" for each in found))
    else:
        from woolexec.cli.top_live import show

        show(found, lambda: _answers(pids, peers, arguments.timeout))
    return 0


def _web(found: Sequence[Shown], peers: Sequence[PeerThere]) -> int:
    """Print the URLs of the pools' pages, and serve a page for each peer until Ctrl-C or the peers' end."""
    from woolexec.cli.top_sources import PoolHere

    for each in found:
        if isinstance(each, PoolHere):
            print(f"{each.heading}: {each.record.url}", flush=True)
    if peers:
        from woolexec.cli.top_web import serve

        with suppress(KeyboardInterrupt):
            serve(peers)
    return 0


def _answers(pids: Sequence[int], peers: Sequence[PeerThere], timeout: float) -> list[Shown]:
    """Return the answers of the pools and the peers."""
    from woolexec.cli.top_sources import pools_here
    from woolexec.errors import CredentialsError, PeerRefusedError

    found: list[Shown] = []
    if pids or not peers:
        with suppress(CredentialsError):
            found += pools_here(_chosen(pids, are_needed=False), timeout)
    for peer in peers:
        with suppress(PeerRefusedError, CredentialsError):
            found += peer.clients()
    return found


def _fail(text: str) -> int:
    print(f"woolexec top: {printable(text, 2000)}", file=sys.stderr)
    return 2


def _chosen(pids: Sequence[int], *, are_needed: bool = True) -> list[PoolRecord]:
    """
    Return the pools of these processes; if none are given, those of all processes.

    :param are_needed: it is an error if there are none
    :raises LookupError: if there are none
    :raises CredentialsError: if other users can access the records
    """
    from woolexec.observe.pool_records import records

    found = records()
    for pid in pids if are_needed else ():
        if all(each.pid != pid for each in found):
            raise LookupError(f"process {pid} has no pool with a page, or is not of this user: {_NO_PAGE}")
    if are_needed and not found:
        raise LookupError(f"no pool of this user on this machine has a page: {_NO_PAGE}")
    return [each for each in found if not pids or each.pid in pids]
