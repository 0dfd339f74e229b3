"""
Peers that write one file each into a folder that their clients can read, for example on NFS.

::

    <folder>/<identity>.json    rewritten every `BEAT` seconds, removed when the peer ends

A killed peer leaves its file behind.  The peer counts as gone when the file has not changed for `STALE` seconds by the
watcher's clock; if the record is signed, only a newer signature counts as a change.

Anyone who can write to the folder can fill it.  So a file is read only when it has changed, each look takes a bounded
time, and for a file that is not a record only its name, kind, size and time of change are read.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import math
import os
import random
import re
import secrets
import stat
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass
from time import monotonic

from woolexec.discovery.base import Discovery, Event, Known, Record
from woolexec.errors import DiscoveryError
from woolexec.platform.files import create, open_to_read

BEAT, STALE = 10.0, 90.0
"""Seconds; changes to files on NFS may be seen a minute late."""

_REST = 5.0
"""Minimum pause after a look, as a multiple of the time that the look took."""

_READING = 0.5
"""Seconds for which one look reads files; the rest are read by the next look, which follows at once."""

_LARGEST = 4 << 10
"""Maximum size of a record's file, in bytes."""

_ADDRESSES, _TAGS = 32, 100
"""Maximum number of addresses and of tags in a record."""

_FILES = 20_000
"""Maximum number of files considered; if there are more, some are chosen at random."""

_OURS = re.compile(r"[0-9a-f]{32}\.json")
"""The names of files that peers write."""

_ABANDONED = 24 * 3600
"""Seconds after which the next peer removes a file that was not rewritten, by the clock of its file system."""


class Directory(Discovery):
    """
    Peers that announce themselves in a shared folder.

    :param path: the folder, which must exist
    :param pool: only peers of this pool; empty: all
    """

    def __init__(self, path: str | os.PathLike[str], pool: str = "") -> None:
        self.path = os.path.abspath(path)
        self.pool = pool

    def __str__(self) -> str:
        return f"dir:{self.path}"

    signs = True

    pause = 0.5
    """Minimum seconds between two looks."""

    async def watch(self) -> AsyncIterator[Event]:
        """
        Yield events from the files in the folder.

        :raises DiscoveryError: if the folder cannot be read
        """
        folder = _Folder(self.path, self.pool)
        while True:
            began = monotonic()
            try:
                events = await asyncio.to_thread(folder.changes)
            except OSError as exc:
                raise DiscoveryError(f"folder {self.path}: {exc.strerror}") from exc
            took = monotonic() - began
            for event in events:
                yield event
            await asyncio.sleep(max(self.pause, _REST * took) if folder.has_read_all else 0)

    @contextlib.asynccontextmanager
    async def announce(self, record: Record) -> AsyncIterator[None]:
        """
        Write the peer's file and rewrite it periodically; remove it at the end.

        :raises DiscoveryError: if it cannot be written
        """
        own = _Own(self.path, record)
        try:
            await asyncio.to_thread(own.write)
        except OSError as exc:
            raise DiscoveryError(f"folder {self.path}: {exc.strerror}") from exc
        beating = asyncio.get_running_loop().create_task(self._beat(own))
        try:
            yield
        finally:
            beating.cancel()
            own.remove()

    async def _beat(self, own: _Own) -> None:
        await asyncio.to_thread(own.clear)
        while True:
            await asyncio.sleep(BEAT)
            with contextlib.suppress(OSError):  # the file server may be back for the next beat
                await asyncio.to_thread(own.write)


@dataclass(slots=True)
class _File:
    """
    A file that may be a record.

    :param about: its inode, time of change and size when it was read
    :param record: what it contains; None: no record
    :param beat: a value that is different each time the peer writes the file
    :param since: when `beat` was first seen
    """

    about: tuple[int, int, int]
    record: Record | None
    beat: object
    since: float


class _Folder:
    """The records in a folder; used by one thread at a time."""

    def __init__(self, path: str, pool: str) -> None:
        self._path, self._pool = path, pool
        self._known = Known()
        self.has_read_all = True
        self._files: dict[str, _File] = {}
        self._random = random.Random()  # noqa: S311  # does not disturb the program's random numbers

    def changes(self) -> list[Event]:
        """
        Return what has changed since the last call.

        :raises OSError: if the folder cannot be read
        """
        self._look()
        now = monotonic()
        records = {}
        for file in self._files.values():
            record = file.record
            if record is not None and now - file.since < STALE and self._pool in ("", record.pool):
                records[record.key] = record
        return self._known.changes(records)

    def _look(self) -> None:
        """Read the files that have changed, in random order, until the time for reading is over."""
        found = self._listed()
        self._files = {name: file for name, file in self._files.items() if name in found}
        changed = [name for name, about in found.items() if name not in self._files or self._files[name].about != about]
        self._random.shuffle(changed)
        until = monotonic() + _READING
        self.has_read_all = True
        for name in changed:
            if monotonic() > until:
                self.has_read_all = False
                return
            record, beat = None, None
            if found[name][2] <= _LARGEST:
                with contextlib.suppress(OSError):  # removed meanwhile, or not readable for us
                    record, beat = _parse(_read(os.path.join(self._path, name)) or b"", name)
            now, before = monotonic(), self._files.get(name)
            if before is not None and record is not None and record.mac:
                # Writing an old record again does not make it newer.
                is_same = before.record is not None and before.record.time >= record.time
            else:
                is_same = before is not None and before.beat == beat
            since = before.since if before is not None and is_same else now
            self._files[name] = _File(found[name], record, beat, since)

    def _listed(self) -> dict[str, tuple[int, int, int]]:
        """
        Return the files that may be records.

        :raises OSError: if the folder cannot be read
        """
        with os.scandir(self._path) as entries:
            here = {entry.name: entry for entry in entries if entry.name.endswith(".json") and entry.name[0] != "."}
        names = list(here)
        if len(names) > _FILES:
            known = [name for name in names if (file := self._files.get(name)) is not None and file.record is not None]
            others = list(here.keys() - set(known))
            names = known[:_FILES] + self._random.sample(others, min(len(others), _FILES // 4))
        found = {}
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile
                about = here[name].stat(follow_symlinks=False)
                if stat.S_ISREG(about.st_mode):
                    found[name] = about.st_ino, about.st_mtime_ns, about.st_size
        return found


class _Own:
    """The file of this peer."""

    def __init__(self, folder: str, record: Record) -> None:
        self._folder = folder
        self._record = record
        self._path = os.path.join(folder, f"{record.key}.json")
        self._beat = 0
        self._over = False
        self._writing = threading.Lock()  # guards the file: nothing is written after `remove`

    def write(self) -> None:
        """Write the whole file, atomically."""
        record = self._record
        with self._writing:
            if self._over:
                return
            self._beat += 1
            data = _encode(record.signed(), self._beat)
            # Readers must never see half a file, and others who can write to the folder must not redirect the write.
            new = os.path.join(self._folder, f".{record.key}.{secrets.token_hex(4)}")
            fd = create(new, 0o644)
            try:
                with open(fd, "wb") as file:
                    file.write(data)
                os.replace(new, self._path)
            except BaseException:
                os.unlink(new)
                raise

    def remove(self) -> None:
        """Remove the file; later writes do nothing."""
        with self._writing, contextlib.suppress(OSError):
            self._over = True
            os.unlink(self._path)

    def clear(self) -> None:
        """Remove the files of peers that were killed long ago, and nothing else: the folder may have other uses."""
        with contextlib.suppress(OSError):
            now = os.stat(self._path).st_mtime
            for name in os.listdir(self._folder):
                path = os.path.join(self._folder, name)
                with contextlib.suppress(OSError):
                    is_old = _OURS.fullmatch(name) and os.lstat(path).st_mtime < now - _ABANDONED
                    if is_old and _parse(_read(path) or b"", name)[0] is not None:
                        os.unlink(path)


def _read(path: str) -> bytes | None:
    """
    Read a file that may be a record; return None if it is not a regular file.

    :raises OSError: if it cannot be read
    """
    fd = open_to_read(path)
    try:
        return os.read(fd, _LARGEST + 1) if stat.S_ISREG(os.fstat(fd).st_mode) else None
    finally:
        os.close(fd)


def _encode(record: Record, beat: int) -> bytes:
    """
    Return the contents of a peer's file.

    :raises DiscoveryError: if it would be too large to be read
    """
    about = {
        "key": record.key,
        "addresses": record.addresses,
        "pool": record.pool,
        "tags": record.tags,
        "fingerprint": record.fingerprint,
        "beat": beat,
        "time": record.time,
        "mac": record.mac,
    }
    data = json.dumps(about).encode()
    if len(data) > _LARGEST or len(record.addresses) > _ADDRESSES or len(record.tags) > _TAGS:
        raise DiscoveryError(
            f"a record in a folder has at most {_ADDRESSES} addresses, {_TAGS} tags and {_LARGEST} bytes, "
            f"not {len(record.addresses)}, {len(record.tags)} and {len(data)}: use fewer tags, or --advertise"
        )
    return data


def _parse(data: bytes, name: str) -> tuple[Record | None, object]:
    """
    Make a record from the contents of a file.

    :param name: the name of the file, which is derived from the key, so no file can hide another one's record
    :return: the record, or None if it is not one; and the value that its peer changes each time
    """
    if len(data) > _LARGEST:
        return None, None
    try:
        about = json.loads(data)
        key, addresses, tags = about["key"], about["addresses"], about["tags"]
        pool, fingerprint = about["pool"], about["fingerprint"]
        time, mac = about.get("time", 0.0), about.get("mac", "")
        "".join((key, pool, fingerprint, mac, *addresses, *tags)).encode()  # texts, and no lone surrogates
        if f"{key}.json" != name or not (isinstance(addresses, list) and isinstance(tags, list)):
            return None, None
        if not (0 < len(addresses) <= _ADDRESSES and len(tags) <= _TAGS and math.isfinite(time)):
            return None, None
        record = Record(key, tuple(addresses), pool, tuple(tags), fingerprint, None, float(time), mac)
        return record, about.get("beat")
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError):
        return None, None
