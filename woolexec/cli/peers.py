"""``woolexec peers`` and ``woolexec doctor``: what is there, and what is wrong with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from typing import TYPE_CHECKING, Any

from woolexec.requirement import amounts

if TYPE_CHECKING:
    import argparse

    from woolexec.mesh.credentials import Credentials
    from woolexec.mesh.discovery import Discovery, Record


def run(arguments: argparse.Namespace) -> int:
    """List the peers that are found; exit code 1 if there is none that can be used."""
    from woolexec.errors import CredentialsError, DiscoveryError
    from woolexec.mesh.credentials import Credentials
    from woolexec.mesh.discovery.urls import discoveries

    try:
        found = discoveries(arguments.where or ["lan://"])
        rows = asyncio.run(_rows(found, Credentials.from_environment(), arguments.timeout))
    except (ValueError, CredentialsError, FileNotFoundError) as exc:
        print(f"woolexec peers: {exc}", file=sys.stderr)
        return 2
    except DiscoveryError as exc:
        print(f"woolexec peers: {exc}", file=sys.stderr)
        return 1
    if arguments.json:
        print(json.dumps(rows, indent=2))
    elif rows:
        _table(rows)
    else:
        print("no peers")
    return 0 if any(row["usable"] for row in rows) else 1


async def _rows(found: list[Discovery], credentials: Credentials, seconds: float) -> list[dict[str, Any]]:
    records: dict[str, Record] = {}
    await asyncio.gather(*(_gather(discovery, records, seconds) for discovery in found))
    return list(await asyncio.gather(*(_row(record, credentials) for record in records.values())))


async def _gather(discovery: Discovery, records: dict[str, Record], seconds: float) -> None:
    """Take what is heard of within the time; a discovery that ends is not asked again."""
    from woolexec.mesh.discovery import Left

    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(seconds), contextlib.aclosing(discovery.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Left):
                    records.pop(event.key, None)
                else:
                    records[event.record.key] = event.record


async def _row(record: Record, credentials: Credentials) -> dict[str, Any]:
    from woolexec.errors import PeerRefusedError
    from woolexec.mesh.probe import look

    row: dict[str, Any] = {"addresses": list(record.addresses), "pool": record.pool, "tags": list(record.tags)}
    reasons = []
    for address in record.addresses:
        try:
            welcome = await look(address, record.credentials or credentials)
        except PeerRefusedError as exc:
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
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]) - 1)]
    for *cells, last in lines:
        print("  ".join([*(cell.ljust(width) for cell, width in zip(cells, widths, strict=True)), last]))


def doctor(arguments: argparse.Namespace) -> int:
    """Say step by step what works on the way to a peer; exit code 1 if something does not."""
    from woolexec.errors import CredentialsError
    from woolexec.mesh.credentials import Credentials
    from woolexec.mesh.discovery.urls import check_address

    try:
        address = check_address(arguments.address)
        credentials = Credentials.from_environment(os.environ)
    except (ValueError, CredentialsError, FileNotFoundError) as exc:
        print(f"woolexec doctor: {exc}", file=sys.stderr)
        return 2
    return 0 if asyncio.run(_examine(address, credentials)) else 1


async def _examine(address: str, credentials: Credentials) -> bool:
    from woolexec.mesh.probe import examine

    works = True
    print(f"peer at {address}")
    async for step in examine(address, credentials):
        works = step.works
        print(f"  {'ok  ' if works else 'FAIL'}  {step.name}: {step.found}")
        if step.advice:
            print(f"        {step.advice}")
    return works
