"""
Peers that each write a file into a folder that their clients can read, for example on NFS.

::

    <folder>/<identity>.json    rewritten every `BEAT` seconds, removed when the peer ends

A peer that was killed leaves its file behind.  It counts as gone when the file has not changed for `STALE` seconds by
the watcher's own clock, so the clocks of the hosts need not agree.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import secrets
import stat
import threading
from collections.abc import AsyncIterator
from time import monotonic

from woolexec.discovery.base import Discovery, Event, Known, Record
from woolexec.errors import DiscoveryError
from woolexec.platform.posix import create, open_to_read

BEAT, STALE = 10.0, 90.0
"""Seconds; changes to files on NFS may be seen a minute late."""

_LOOK = 0.5
_LARGEST = 64 << 10
"""Maximum size of a record's file, in bytes."""

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

    async def watch(self) -> AsyncIterator[Event]:
        """Yield events from the files in the folder."""
        known = Known()
        beats: dict[str, tuple[bytes, float]] = {}
        while True:
            files = await asyncio.to_thread(self._read)
            now = monotonic()
            records = {}
            for name, data in files.items():
                if name not in beats or beats[name][0] != data:
                    beats[name] = data, now
                record = _parse(data)
                if record is not None and now - beats[name][1] < STALE and self.pool in ("", record.pool):
                    records[record.key] = record
            beats = {name: beats[name] for name in files}
            for event in known.changes(records):
                yield event
            await asyncio.sleep(_LOOK)

    def _read(self) -> dict[str, bytes]:
        """
        Return the contents of all files that may be records.

        :raises DiscoveryError: if the folder cannot be read
        """
        files = {}
        try:
            names = [name for name in os.listdir(self.path) if name.endswith(".json") and name[0] != "."]
        except OSError as exc:
            raise DiscoveryError(f"folder {self.path}: {exc.strerror}") from exc
        for name in names:
            with contextlib.suppress(OSError):  # removed meanwhile, or not readable for us
                data = _read(os.path.join(self.path, name))
                if data is not None:
                    files[name] = data
        return files

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
            about = {
                "key": record.key,
                "addresses": record.addresses,
                "pool": record.pool,
                "tags": record.tags,
                "fingerprint": record.fingerprint,
                "beat": self._beat,
            }
            # Readers must never see half a file, and others who can write to the folder must not redirect the write.
            new = os.path.join(self._folder, f".{record.key}.{secrets.token_hex(4)}")
            fd = create(new, 0o644)
            try:
                with open(fd, "w", encoding="utf-8") as file:
                    json.dump(about, file)
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
                    if _OURS.fullmatch(name) and os.lstat(path).st_mtime < now - _ABANDONED:
                        record = _parse(_read(path) or b"")
                        if record is not None and f"{record.key}.json" == name:
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


def _parse(data: bytes) -> Record | None:
    """Make a record from the contents of a file; return None if they are not one."""
    if len(data) > _LARGEST:
        return None
    try:
        about = json.loads(data)
        json.dumps(about, ensure_ascii=False).encode()  # no lone surrogates
        texts = [about["key"], about["pool"], about["fingerprint"], *about["addresses"], *about["tags"]]
        if not (about["key"] and about["addresses"] and all(isinstance(text, str) for text in texts)):
            return None
        return Record(
            about["key"], tuple(about["addresses"]), about["pool"], tuple(about["tags"]), about["fingerprint"]
        )
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
