"""``woolexec peers`` and ``woolexec doctor``: list peers, and check the connection to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from woolexec.printable import printable
from woolexec.resources import amounts

if TYPE_CHECKING:
    import argparse

    from woolexec.discovery.base import Discovery, Event, Record
    from woolexec.mesh.client.between import UsablePeer
    from woolexec.mesh.client.finding import Foreign
    from woolexec.mesh.security.credentials import Credentials

T = TypeVar("T")

_MANY, _NAMED = 64, 20
"""Minimum number of records that are probed first, and maximum number listed of those that do not answer then."""

_PROBES, _PATIENCE = 500, 1.0
"""Maximum number of probes at a time, and seconds for each record."""

_AT_ONCE = 64
"""Maximum number of peers asked at a time."""

_STARTING = 65.0
"""Timeout in seconds for discoveries that know how many peers they name: ssh has to start the peer first."""


def run(arguments: argparse.Namespace) -> int:
    """List the peers that are found; return exit code 1 if none of them can be used."""
    prepared = _prepare("peers", arguments.where or ["local://", "lan://"])
    if prepared is None:
        return 2
    found, credentials = prepared
    rows, troubles, remarks = asyncio.run(_ask_all(found, arguments.timeout, credentials, _row))
    for trouble in troubles + remarks:
        print(f"woolexec peers: {printable(trouble)}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        _table(rows)
    elif not (troubles or remarks):
        print("no peers")
    return 0 if any(row["usable"] for row in rows) else 1


def _prepare(command: str, where: list[str]) -> tuple[list[Discovery], Credentials] | None:
    """Return the discoveries and the credentials; print the reason and return None if one cannot be used."""
    from woolexec.discovery.urls import discoveries
    from woolexec.errors import CredentialsError
    from woolexec.mesh.security.credentials import Credentials

    try:
        return discoveries(where), Credentials.from_environment(os.environ)
    except (ValueError, CredentialsError, FileNotFoundError) as exc:
        print(f"woolexec {command}: {exc}", file=sys.stderr)
        return None


async def _ask_all(
    found: list[Discovery], seconds: float, credentials: Credentials, ask: Callable[[Record, Credentials], Awaitable[T]]
) -> tuple[list[T], list[str], list[str]]:
    """
    Ask each peer that is found, before its discovery is closed: a peer started by a discovery ends with it.

    :return: the answers, the reasons why discoveries found nothing, and what was found and ignored
    """
    looks = [asyncio.ensure_future(_look(discovery, seconds, credentials, ask)) for discovery in found]
    answers: list[T] = []
    troubles: list[str] = []
    remarks: list[str] = []
    for some, reasons, ignored in await asyncio.gather(*looks):
        answers += some
        troubles += reasons
        remarks += ignored
    return answers, troubles, remarks


async def _look(
    discovery: Discovery, seconds: float, credentials: Credentials, ask: Callable[[Record, Credentials], Awaitable[T]]
) -> tuple[list[T], list[str], list[str]]:
    from woolexec.errors import DiscoveryError
    from woolexec.mesh.client.finding import Foreign

    records: dict[str, Record] = {}
    foreign = Foreign(discovery, credentials)
    few = asyncio.Semaphore(_AT_ONCE)  # how many peers are asked at once
    events = discovery.watch()

    async def answer(record: Record) -> T:
        async with few:
            return await ask(record, record.credentials or credentials)

    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if discovery.count is None else _STARTING):
                await _gather(events, records, discovery.count, foreign)
        likely, left_out = await _likely(list(records.values()), credentials)
        remarks = [f"{left_out} more records at {discovery} lead to no peer"] if left_out else []
        remarks += [str(foreign)] if str(foreign) else []
        return list(await asyncio.gather(*map(answer, likely))), [], remarks
    except DiscoveryError as exc:
        return [], [str(exc)], []
    except Exception as exc:  # a user-defined discovery may raise anything
        return [], [f"{discovery}: {exc!r}"], []
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # a generator


async def _gather(
    events: AsyncIterator[Event], records: dict[str, Record], count: int | None, foreign: Foreign
) -> None:
    """Collect the records of peers; return when there are `count`."""
    from woolexec.discovery.base import Left

    async for event in events:
        if isinstance(event, Left):
            records.pop(event.key, None)
            foreign.forget(event.key)
        elif not foreign.refuses(event.record):
            records[event.record.key] = event.record
        if count is not None and len(records) >= count:
            return


async def _likely(records: list[Record], credentials: Credentials) -> tuple[list[Record], int]:
    """
    If there are very many records, leave out most of those that do not answer.

    :return: the remaining records, and how many were left out
    """
    from woolexec.mesh.client.probe import Prober
    from woolexec.platform.posix import descriptor_limit

    if len(records) < _MANY:
        return records, 0
    prober = Prober()
    few = asyncio.Semaphore(min(_PROBES, descriptor_limit() // 4))  # how many addresses are tried at once

    async def answers(record: Record) -> bool:
        async with few, asyncio.timeout(_PATIENCE):
            for address in record.addresses:
                if await prober.why_not(address, record.credentials or credentials) is None:
                    return True
        return False

    found = await asyncio.gather(*map(answers, records), return_exceptions=True)
    likely = [record for record, there in zip(records, found, strict=True) if there is True]
    others = [record for record, there in zip(records, found, strict=True) if there is not True]
    return likely + others[:_NAMED], max(0, len(others) - _NAMED)


async def _row(record: Record, credentials: Credentials) -> dict[str, Any]:
    from woolexec.errors import CredentialsError, PeerRefusedError
    from woolexec.mesh.client.doctor import look

    row: dict[str, Any] = {"addresses": list(record.addresses), "pool": record.pool, "tags": list(record.tags)}
    reasons = []
    for address in record.addresses:
        try:
            welcome = await look(address, credentials)
        except (PeerRefusedError, CredentialsError) as exc:
            reasons.append(f"{address}: {exc}")
            continue
        about = {"host": welcome.host, "pid": welcome.pid, "workers": welcome.workers, "identity": welcome.identity}
        about |= {"pool": welcome.pool, "tags": list(welcome.tag), "resources": amounts(welcome.resource)}
        about |= {"failures": welcome.failures}
        return row | about | {"usable": True, "address": address}
    return row | {"usable": False, "address": record.addresses[0], "reason": "; ".join(reasons)}


def _table(rows: list[dict[str, Any]]) -> None:
    lines = [("ADDRESS", "HOST", "WORKERS", "POOL", "OFFERS")]
    for row in rows:
        if row["usable"]:
            offers = [*(f"{name}={amount:g}" for name, amount in row["resources"].items()), *row["tags"]]
            failed = [f"(failures lately: {row['failures']}; see its log)"] if row["failures"] else []
            rest = row["host"], str(row["workers"]), row["pool"] or "-", " ".join([*offers, *failed]) or "-"
        else:
            rest = "-", "-", row["pool"] or "-", f"cannot be used: {row['reason']}"
        lines.append((row["address"], *rest))
    widths = [max(len(printable(line[column])) for line in lines) for column in range(len(lines[0]) - 1)]
    for *cells, last in ([*map(printable, line)] for line in lines):  # some of it was written by strangers
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def doctor(arguments: argparse.Namespace) -> int:
    """Check each step of connecting to peers; return exit code 1 if a step fails or no peer is found."""
    prepared = _prepare("doctor", arguments.where)
    if prepared is None:
        return 2
    found, credentials = prepared
    usable: list[UsablePeer] = []
    examine = partial(_examine, usable, is_brief=arguments.brief)
    works, troubles, remarks = asyncio.run(_ask_all(found, arguments.timeout, credentials, examine))
    if not arguments.brief:
        _look_between(usable)
        for remark in remarks:
            print(f"  note  discovery: {printable(remark)}")
    for trouble in troubles:
        print(f"  FAIL  discovery: {printable(trouble)}")
    if not (works or troubles):
        print(f"  FAIL  discovery: no peer was found within {arguments.timeout:g} s")
        print("        is `woolexec serve` running there, with this --announce?")
    return 0 if works and all(works) and not troubles else 1


def _look_between(usable: list[UsablePeer]) -> None:
    """Print which peers cannot send each other values."""
    from woolexec.mesh.client.between import MOST, barriers

    count = len({peer.welcome.identity for peer in usable})
    if count < 2:
        return
    found = asyncio.run(barriers(usable))
    print("values from peer to peer")
    for peer, other, reason in found[:_NAMED]:
        print(printable(f"  note  {peer.address} cannot reach {other.address}: {reason}"))
    if found:
        print("        values between these two go through your program, which is slower: let them connect")
    if len(found) > _NAMED:
        print(f"        and {len(found) - _NAMED} more pairs")
    if count > MOST:
        print(f"  note  only {MOST} of {count} peers were asked")
    if not found:
        print("  ok    each reaches the others")


async def _examine(usable: list[UsablePeer], record: Record, credentials: Credentials, *, is_brief: bool) -> bool:
    """Try the addresses of a peer until one works, and add that one."""
    from woolexec.mesh.client.doctor import examine

    for address in record.addresses:
        works = True
        lines = [f"peer at {address}"]
        async for step in examine(address, credentials, usable.append):
            works = step.works
            if works and is_brief:
                continue
            lines.append(f"  {'ok  ' if works else 'FAIL'}  {step.name}: {step.found}")
            lines += [f"        {step.advice}"] if step.advice else []
        if not (works and is_brief):  # in one piece: peers are tried concurrently, and their lines must not mix
            print("\n".join(map(printable, lines)))
        if works:
            return True
    return False
