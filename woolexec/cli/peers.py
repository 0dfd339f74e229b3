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
    from woolexec.mesh.security.credentials import Credentials

T = TypeVar("T")

_STARTING = 65.0
"""Timeout in seconds for discoveries that know how many peers they name: ssh has to start the peer first."""


def run(arguments: argparse.Namespace) -> int:
    """List the peers that are found; return exit code 1 if none of them can be used."""
    prepared = _prepare("peers", arguments.where or ["lan://"])
    if prepared is None:
        return 2
    found, credentials = prepared
    rows, troubles = asyncio.run(_ask_all(found, arguments.timeout, partial(_row, credentials=credentials)))
    for trouble in troubles:
        print(f"woolexec peers: {printable(trouble)}", file=sys.stderr)
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        _table(rows)
    elif not troubles:
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
    found: list[Discovery], seconds: float, ask: Callable[[Record], Awaitable[T]]
) -> tuple[list[T], list[str]]:
    """
    Ask each peer that is found, before its discovery is closed: a peer started by a discovery ends with it.

    :return: the answers, and the reasons why discoveries found nothing
    """
    looks = [asyncio.ensure_future(_look(discovery, seconds, ask)) for discovery in found]
    answers: list[T] = []
    troubles = []
    for each, trouble in await asyncio.gather(*looks):
        answers += each
        troubles += [trouble] if trouble else []
    return answers, troubles


async def _look(
    discovery: Discovery, seconds: float, ask: Callable[[Record], Awaitable[T]]
) -> tuple[list[T], str | None]:
    from woolexec.errors import DiscoveryError

    records: dict[str, Record] = {}
    events = discovery.watch()
    trouble = None
    try:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds if discovery.count is None else _STARTING):
                await _gather(events, records, discovery.count)
        return list(await asyncio.gather(*(ask(record) for record in records.values()))), None
    except DiscoveryError as exc:
        trouble = str(exc)
    except Exception as exc:  # a user-defined discovery may raise anything
        trouble = f"{discovery}: {exc!r}"
    finally:
        await events.aclose()  # type: ignore[attr-defined]  # a generator
    return [], trouble


async def _gather(events: AsyncIterator[Event], records: dict[str, Record], count: int | None) -> None:
    """Collect the records of peers; return when there are `count`."""
    from woolexec.discovery.base import Left

    async for event in events:
        if isinstance(event, Left):
            records.pop(event.key, None)
        else:
            records[event.record.key] = event.record
        if count is not None and len(records) >= count:
            return


async def _row(record: Record, credentials: Credentials) -> dict[str, Any]:
    from woolexec.errors import CredentialsError, PeerRefusedError
    from woolexec.mesh.client.doctor import look

    row: dict[str, Any] = {"addresses": list(record.addresses), "pool": record.pool, "tags": list(record.tags)}
    reasons = []
    for address in record.addresses:
        try:
            welcome = await look(address, record.credentials or credentials)
        except (PeerRefusedError, CredentialsError) as exc:
            reasons.append(f"{address}: {exc}")
            continue
        about = {"host": welcome.host, "pid": welcome.pid, "workers": welcome.workers, "identity": welcome.identity}
        about |= {"pool": welcome.pool, "tags": list(welcome.tag), "resources": amounts(welcome.resource)}
        return row | about | {"usable": True, "address": address}
    return row | {"usable": False, "address": record.addresses[0], "reason": "; ".join(reasons)}


def _table(rows: list[dict[str, Any]]) -> None:
    lines = [("ADDRESS", "HOST", "WORKERS", "POOL", "OFFERS")]
    for row in rows:
        if row["usable"]:
            offers = [*(f"{name}={amount:g}" for name, amount in row["resources"].items()), *row["tags"]]
            rest = row["host"], str(row["workers"]), row["pool"] or "-", " ".join(offers) or "-"
        else:
            rest = "-", "-", row["pool"] or "-", f"cannot be used: {row['reason']}"
        lines.append((row["address"], *rest))
    widths = [max(len(printable(line[column])) for line in lines) for column in range(len(lines[0]) - 1)]
    for *cells, last in ([*map(printable, line)] for line in lines):  # strangers have written some of it
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def doctor(arguments: argparse.Namespace) -> int:
    """Check each step of connecting to peers; return exit code 1 if a step fails or no peer is found."""
    prepared = _prepare("doctor", arguments.where)
    if prepared is None:
        return 2
    found, credentials = prepared
    works, troubles = asyncio.run(_ask_all(found, arguments.timeout, partial(_examine, credentials=credentials)))
    for trouble in troubles:
        print(f"  FAIL  discovery: {printable(trouble)}")
    if not (works or troubles):
        print(f"  FAIL  discovery: no peer was found within {arguments.timeout:g} s")
        print("        is `woolexec serve` running there, with this --announce?")
    return 0 if works and all(works) and not troubles else 1


async def _examine(record: Record, credentials: Credentials) -> bool:
    """Try the addresses of a peer until one works."""
    from woolexec.mesh.client.doctor import examine

    for address in record.addresses:
        works = True
        lines = [f"peer at {address}"]
        async for step in examine(address, record.credentials or credentials):
            works = step.works
            lines.append(f"  {'ok  ' if works else 'FAIL'}  {step.name}: {step.found}")
            lines += [f"        {step.advice}"] if step.advice else []
        print("\n".join(map(printable, lines)))  # at once: peers are tried concurrently, and their lines must not mix
        if works:
            return True
    return False
