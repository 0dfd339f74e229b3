"""
The settings of commands; sources in order of precedence: argument, environment, file, default.

Each setting has one name, written ``--drain-timeout`` as an argument, ``WOOLEXEC_DRAIN_TIMEOUT`` in the environment and
``drain-timeout`` in a TOML file.  An unknown name is an error in the file and in the environment.
"""

from __future__ import annotations

import argparse
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from woolexec.platform.files import read_regular

PREFIX = "WOOLEXEC_"

_OTHERS = frozenset(
    f"{PREFIX}{name}"
    for name in (
        *("CODE", "CONFIG", "SSH", "STATE", "TLS_CA", "TLS_CERT", "TLS_KEY", "TLS_REVOKED"),
        *("WORKER_ALLOWS", "WORKER_RESULTS"),
    )
)
"""Names with the prefix that are not settings of a command; those of TLS belong to clients."""


_LARGEST = 1 << 20
"""Maximum size of a file of settings, in bytes."""

_EMPTY = "{} is empty: give it a value, or leave it out"
"""The message for an empty value: a broken template must not turn off what the setting protects."""


class SettingError(ValueError):
    """A setting that does not exist, or that has an invalid value."""


@dataclass(frozen=True, slots=True)
class Setting:
    """
    One setting.

    :param parse: converts the text to the value; raises ValueError
    :param metavar: placeholder for the value in the help; None: the setting is a flag
    :param many: whether it may be given several times; then its value is a list
    :param variable: its name in the environment; empty: derived from its name
    """

    name: str
    help: str
    parse: Callable[[str], Any] = str
    default: Any = None
    metavar: str | None = "TEXT"
    many: bool = False
    variable: str = ""

    def __post_init__(self) -> None:
        if not self.variable:
            object.__setattr__(self, "variable", PREFIX + self.name.replace("-", "_").upper())

    def add_to(self, parser: argparse.ArgumentParser) -> None:
        """Add the setting to a parser as an argument."""
        more: dict[str, Any] = {"action": "store_true"} if self.metavar is None else {"metavar": self.metavar}
        if self.many:
            more["action"] = "append"
        default = "" if self.default in (None, "", (), False) else f" (default: {_shown(self.default)})"
        parser.add_argument(f"--{self.name}", dest=self.name, default=None, help=f"{self.help}{default}", **more)

    def value_of(self, given: object, where: str) -> Any:
        """
        Return the value for what was given.

        :raises SettingError: if it is invalid
        """
        if self.many:
            entries = given if isinstance(given, list) else str(given).split(",")
            if not entries:
                raise SettingError(_EMPTY.format(where))
            return [self._parse(entry, where) for entry in entries]
        return self._parse(given, where)

    def _parse(self, given: object, where: str) -> Any:
        if not str(given).strip():
            raise SettingError(_EMPTY.format(where))
        if "\0" in str(given):
            raise SettingError(f"{where}: {given!r} contains a null character")
        if self.metavar is None:
            if isinstance(given, bool):
                return given
            text = str(given).lower()
            if text in ("1", "true", "yes", "on", "0", "false", "no", "off"):
                return text in ("1", "true", "yes", "on")
            raise SettingError(f"{where}: must be yes or no, not {given!r}")
        if isinstance(given, bool | dict | list):
            raise SettingError(f"{where}: {given!r} is not {self.metavar}")
        try:
            return self.parse(str(given))
        except ValueError as exc:
            raise SettingError(f"{where}: {exc}") from exc


def _shown(value: object) -> str:
    return f"{value:g}" if isinstance(value, float) else str(value)


def gather(
    settings: Sequence[Setting], arguments: argparse.Namespace, environment: Mapping[str, str] = os.environ
) -> dict[str, Any]:
    """
    Collect the values of settings.

    :param arguments: the parsed arguments; `config` names the file, as does WOOLEXEC_CONFIG
    :raises SettingError: if a name is unknown or a value is invalid
    """
    known = {setting.name: setting for setting in settings}
    path, where = getattr(arguments, "config", None), "--config"
    if path is None:
        path, where = environment.get("WOOLEXEC_CONFIG"), "WOOLEXEC_CONFIG"
    if path == "":
        raise SettingError(_EMPTY.format(where))
    file = {} if path is None else _read(path)
    for name in file.keys() - known.keys():
        raise SettingError(f"{path}: unknown setting {name!r}; known settings: {', '.join(sorted(known))}")
    variables = {setting.variable for setting in settings} | _OTHERS
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in variables:
            raise SettingError(f"environment: unknown setting {name}")
    values = {}
    for name, setting in known.items():
        given = getattr(arguments, name, None)
        if given is not None:
            values[name] = setting.value_of(given, f"--{name}")
        elif setting.variable in environment:
            values[name] = setting.value_of(environment[setting.variable], setting.variable)
        elif name in file:
            values[name] = setting.value_of(file[name], f"{path}: {name}")
        else:
            values[name] = setting.default
    return values


def _read(path: str) -> dict[str, Any]:
    import tomllib

    try:
        return tomllib.loads(read_regular(path, _LARGEST).decode())
    except OSError as exc:
        raise SettingError(f"{path}: {exc.strerror}") from exc
    except (UnicodeDecodeError, RecursionError, tomllib.TOMLDecodeError) as exc:
        raise SettingError(f"{path}: {exc}") from exc


def positive(text: str) -> int:
    """
    Parse a whole number above 0.

    :raises ValueError: if it is not one
    """
    try:
        value = int(text)
    except ValueError:
        value = 0
    if value < 1:
        raise ValueError(f"{text!r} is not a whole number above 0")
    return value


def workers(text: str) -> int:
    """
    Parse a number of workers.

    :raises ValueError: if it is not one, or above what a peer can have
    """
    from woolexec.mesh.security.handshake import MOST_WORKERS

    number = positive(text)
    if number > MOST_WORKERS:
        raise ValueError(f"{text!r} is not a whole number between 1 and {MOST_WORKERS}")
    return number


def seconds(text: str) -> float:
    """
    Parse a number of seconds.

    :raises ValueError: if it is not one
    """
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value < float("inf"):
        raise ValueError(f"{text!r} is not a number of seconds")
    return value


def size(text: str) -> int:
    """
    Parse a size in bytes, such as ``2 GiB``.

    :raises ValueError: if it is not one
    """
    from woolexec.checks import size as parsed

    number = parsed("a size", text)
    assert number is not None
    return number


def pair(text: str) -> str:
    """
    Check a ``key=value`` pair.

    :raises ValueError: if it is not one
    """
    key, sign, _ = text.partition("=")
    if not (key and sign):
        raise ValueError(f"{text!r} is not key=value")
    return text


def folder(text: str) -> str:
    """
    Parse the name of a folder to which files can be written.

    :raises ValueError: if it is not one
    """
    from woolexec.platform.ipc import memory_file

    try:
        os.close(memory_file(text))
    except OSError as exc:
        raise ValueError(f"cannot write files to {text!r}: {exc.strerror}") from exc
    return text


def function(text: str) -> str:
    """
    Check the name of a function, ``module:qualname``.

    :raises ValueError: if it is not one
    """
    module, sign, name = text.partition(":")
    if not (sign and all(part.isidentifier() for part in f"{module}.{name}".split("."))):
        raise ValueError(f"{text!r} is not module:name")
    return text


def listening(text: str) -> str:
    """
    Parse an address to listen at; if it has no port, add the default port.

    :raises ValueError: if it is not an address
    """
    from woolexec.discovery.urls import check_address

    return check_address(text, lowest=0)


def port_or_address(text: str) -> tuple[str, int]:
    """
    Parse an address, or a port of this host's loopback address; port 0: any free port.

    :raises ValueError: if it is neither
    """
    host, _, port = text.rpartition(":")
    if not (port.isascii() and port.isdecimal() and int(port) < 65536 and (host or ":" not in text)):
        raise ValueError(f"{text!r} is not host:port, such as 127.0.0.1:9100")
    return host.removeprefix("[").removesuffix("]") or "127.0.0.1", int(port)


def one_of(*words: str) -> Callable[[str], str]:
    """Return a function that checks that a text is one of these words."""

    def read(text: str) -> str:
        if text not in words:
            raise ValueError(f"{text!r} is not one of {', '.join(words)}")
        return text

    return read
