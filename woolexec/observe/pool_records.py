"""
The pools of this user on this host that have a page: a file for each, with the URL of the page.

They are in a folder that no other user can access: the token in a URL is enough to see what the pool does, and the key
is enough to cancel tasks.
"""

from __future__ import annotations

import json
import logging
import os
import secrets
from typing import TYPE_CHECKING, NamedTuple

from woolexec.errors import CredentialsError
from woolexec.mesh.security.credentials import state_folder
from woolexec.platform.files import create, open_to_read
from woolexec.platform.posix import host_name, is_running

if TYPE_CHECKING:
    from pathlib import Path


class PoolRecord(NamedTuple):
    """
    A pool with a page.

    :ivar pid: its process id
    :ivar url: the URL of its page, with the token
    :ivar key: the key that a request to cancel a task must have
    """

    pid: int
    url: str
    key: str = ""


def _folder() -> Path:
    return state_folder("pools", host_name())


def write(url: str, key: str) -> Path | None:
    """Write the record of a pool of this process; return its file, or None if it cannot be written."""
    try:
        path = _folder() / f"{os.getpid()}-{secrets.token_hex(4)}.json"
        with open(create(path, 0o600), "w", encoding="utf-8") as file:
            json.dump({"pid": os.getpid(), "url": url, "key": key}, file)
    except (CredentialsError, OSError) as exc:  # a program must not fail because of its page
        logging.getLogger("woolexec").info("woolexec top will not find this pool: %s", exc)
        return None
    return path


def records() -> list[PoolRecord]:
    """
    Return the records of the pools whose processes are running, and remove those of killed processes.

    :raises CredentialsError: if other users can access the folder
    """
    found = []
    for path in sorted(_folder().glob("*.json")):
        try:
            with open(open_to_read(path), encoding="utf-8") as file:
                data = json.load(file)
            record = PoolRecord(int(data["pid"]), str(data["url"]), str(data.get("key", "")))
        except (OSError, ValueError, KeyError, TypeError):  # it has just ended, or is being written
            continue
        if is_running(record.pid):
            found.append(record)
        else:
            path.unlink(missing_ok=True)
    return found
