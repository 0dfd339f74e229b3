"""
A list of certificates that are no longer accepted: each line has a serial number, in hex, and a comment that names the
owner.

An authority's folder has one, `FILE`; ``woolexec certs revoke`` adds to it.  It is a list of numbers, not a signed CRL:
anyone who can replace it could replace the authorities' file as well.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from woolexec.errors import CredentialsError
from woolexec.platform.files import create, read_regular

if TYPE_CHECKING:
    from pathlib import Path

FILE = "revoked.txt"

_HEADER = "# serial numbers of certificates that are revoked: woolexec certs revoke\n"


def revoked_in(path: str | os.PathLike[str]) -> frozenset[int]:
    """
    Return the serial numbers in a list.

    :raises CredentialsError: if it cannot be read, has an invalid line, or is empty, without even a comment
    """
    try:
        text = read_regular(path).decode()
    except (OSError, ValueError) as exc:
        raise CredentialsError(f"{os.fspath(path)}: {getattr(exc, 'strerror', None) or exc}") from exc
    if not text.strip():  # perhaps half a copy
        raise CredentialsError(f"{os.fspath(path)} is empty: a list without revocations has at least a comment")
    serials = set()
    for number, line in enumerate(text.splitlines(), 1):
        word = line.partition("#")[0].strip()
        if word:
            try:
                serials.add(serial(word))
            except ValueError as exc:
                raise CredentialsError(f"{os.fspath(path)}, line {number}: {exc}") from exc
    return frozenset(serials)


def serial(text: str) -> int:
    """
    Parse a serial number in hex, with or without colons.

    :raises ValueError: if it is not one
    """
    digits = text.replace(":", "")
    if not digits or set(digits) - set("0123456789abcdefABCDEF"):
        raise ValueError(f"{text!r} is not a serial number in hex")
    return int(digits, 16)


def begin(folder: Path) -> None:
    """Make the list of a new authority."""
    _replace(folder / FILE, _HEADER)


def add(folder: Path, number: int, owner: str) -> Path:
    """
    Add a serial number to the list in a folder; do nothing if it is already there.

    :param owner: the owner's name, for the comment
    :return: the path of the list
    :raises CredentialsError: if the list cannot be read or written
    """
    path = folder / FILE
    if path.exists() and number in revoked_in(path):
        return path
    try:
        text = read_regular(path).decode() if path.exists() else _HEADER
        _replace(path, f"{text.rstrip()}\n{number:x}  # {' '.join(owner.split())}\n")
    except OSError as exc:
        raise CredentialsError(f"{exc.filename}: {exc.strerror}") from exc
    return path


def _replace(path: Path, text: str) -> None:
    """Write a file so that no reader sees half of it."""
    own = path.with_name(f".{path.name}.new")
    own.unlink(missing_ok=True)
    with os.fdopen(create(own, 0o644), "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    own.replace(path)
