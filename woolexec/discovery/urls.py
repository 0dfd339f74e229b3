"""
The values of `peers=`: addresses, URLs, and `Discovery` objects.

::

    host:port   unix:/path                 an address; host{1..32}:port stands for 32 addresses, as in shells
    local://[pool]                         peers of this user on this host
    dir:/shared/folder[?pool=NAME]         a folder that peers announce themselves in
    lan://[pool]                           the local network
    dns://name[:port]                      a DNS name, of hosts or of a service
    ssh://[user@]host[:port][/n]           n workers on a host, started for this client; host{1..32} and {a,b}: on each;
                                           ?python= names the interpreter, ?jump= a jump host
    slurm://?max=16                        jobs of Slurm, started when tasks wait; see `woolexec.launchers`
    <scheme>://...                         an entry point <scheme> in the group `woolexec.discovery` or
                                           `woolexec.launchers`, of this package or another one
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from woolexec.checks import wrong_type
from woolexec.discovery.base import PORT, Discovery
from woolexec.discovery.braces import expand
from woolexec.discovery.directory import Directory
from woolexec.discovery.dns import Dns
from woolexec.discovery.lan import Lan
from woolexec.discovery.local import Local
from woolexec.discovery.ssh import Ssh
from woolexec.discovery.static import Static

GROUPS = ("woolexec.discovery", "woolexec.launchers")
"""Entry points: functions that take a URL and return a `Discovery`, which may be a `Launcher`."""

_DIGITS = 5
"""Maximum number of digits of a port."""

_LONGEST = 200
"""Maximum length of a URL or address in a message."""

_ONE = "an address such as 'host:7437', a URL such as 'lan://pool', or a Discovery"


def discoveries(peers: str | Discovery | Iterable[str | Discovery]) -> list[Discovery]:
    """
    Create the discoveries for the value of `peers=`.

    :raises ValueError: if one of them is invalid, or there are none
    :raises TypeError: if one of them is neither a string nor a `Discovery`
    """
    found: list[Discovery] = []
    addresses = []
    if isinstance(peers, str | Discovery):
        peers = [peers]
    elif isinstance(peers, bytes | Mapping) or not isinstance(peers, Iterable):
        raise wrong_type("peers", f"{_ONE}, or several of these", peers)
    for each in peers:
        if isinstance(each, Discovery):
            found.append(each)
        elif not isinstance(each, str):
            raise wrong_type("each of peers", _ONE, each)
        else:
            for name in _names(each):
                if _scheme(name):
                    found.append(discovery(name))
                else:
                    addresses.append(check_address(name))
    if addresses:
        found.insert(0, Static(addresses))
    if not found:
        raise ValueError("peers is empty: name at least one, or leave it out to use only workers on this machine")
    return found


def _names(text: str) -> list[str]:
    """Return the addresses or URLs that a text stands for: several, if its host name contains braces."""
    if "{" not in text or _scheme(text) not in {"", "ssh", "dns"} or text.startswith("unix:"):
        return [text]
    head, mark, query = text.partition("?")
    return [f"{name}{mark}{query}" for name in expand(head)]


def discovery(url: str) -> Discovery:
    """
    Create the discovery that a URL names.

    :raises ValueError: if it is invalid
    """
    scheme = _scheme(url)
    make = _SCHEMES.get(scheme) or _offered(scheme)
    if make is None:
        known = ", ".join(sorted(_SCHEMES))
        raise ValueError(f"{_shown(url)!r}: no discovery is called {scheme!r}; known schemes: {known}")
    try:
        return make(url)
    except ValueError as exc:
        raise ValueError(f"{_shown(url)!r}: {exc}") from None


def check_address(address: str, *, lowest: int = 1) -> str:
    """
    Return the address of a peer, with the default port if it has none.

    :param lowest: the lowest port that is allowed; port 0 means any free port
    :raises ValueError: if it is not an address
    """
    if address.startswith("unix:"):
        if not address.removeprefix("unix:").startswith("/"):
            raise ValueError(f"{address!r}: a Unix socket needs an absolute path, such as unix:/run/user/1000/peer")
        return address
    host, colon, port = address.rpartition(":")
    if not colon or address.endswith("]"):
        host, port = address, str(PORT)
    elif ":" in host and not host.startswith("["):
        host, port = f"[{address}]", str(PORT)
    if not _is_host(host) or not (port.isascii() and port.isdecimal()):
        raise ValueError(f"{_shown(address)!r} is not an address: write HOST:PORT, such as node7:{PORT}, or unix:/PATH")
    if not _is_port(port, lowest):
        raise ValueError(f"{_shown(address)!r}: a port is between {lowest} and 65535")
    return f"{host}:{port}"


def _shown(url: str) -> str:
    """Return a URL for messages: without its password, and shortened."""
    shown = re.sub(r":[^:/@]*@", ":...@", url)
    return shown if len(shown) <= _LONGEST else f"{shown[:_LONGEST]}..."


def _is_port(text: str, lowest: int) -> bool:
    return len(text) <= _DIGITS and lowest <= int(text) < 1 << 16


def _port(parts: SplitResult) -> int | None:
    try:
        return parts.port
    except ValueError:  # also one of very many digits
        raise ValueError("a port is between 1 and 65535") from None


def _is_host(text: str) -> bool:
    if text.startswith("["):
        try:
            return ipaddress.ip_address(text[1:-1].partition("%")[0]).version == 6
        except ValueError:
            return False
    return bool(text) and not any(sign in text for sign in "/[]@ ")


def _scheme(text: str) -> str:
    scheme, colon, rest = text.partition(":")
    return scheme if colon and (rest.startswith("//") or scheme == "dir") else ""


def _offered(scheme: str) -> Callable[[str], Discovery] | None:
    from importlib.metadata import entry_points

    for group in GROUPS:
        for entry in entry_points(group=group, name=scheme):
            made: Any = entry.load()
            return made  # type: ignore[no-any-return]  # the docs say what an entry point must be
    return None


def _query(parts: SplitResult, *allowed: str) -> dict[str, str]:
    """
    Parse the query of a URL.

    :raises ValueError: for names that are not allowed
    """
    given = dict(parse_qsl(parts.query, strict_parsing=bool(parts.query)))
    for name in given:
        if name not in allowed:
            raise ValueError(f"{name}= is not an option here{'; options are ' if allowed else ''}{', '.join(allowed)}")
    return given


def _directory(url: str) -> Discovery:
    parts = urlsplit(url)
    path = unquote(parts.netloc + parts.path)
    if not path:
        raise ValueError("dir: needs a path, such as dir:/shared/peers")
    return Directory(path, **_query(parts, "pool"))


def _lan(url: str) -> Discovery:
    return Lan(_pool(url))


def _local(url: str) -> Discovery:
    return Local(_pool(url))


def _pool(url: str) -> str:
    """Return the name of a pool; the URL may contain nothing else."""
    parts = urlsplit(url)
    _query(parts)
    if parts.path.strip("/"):
        example = f"{parts.scheme}://team"
        raise ValueError(f"{parts.scheme}:// takes the name of a pool and nothing else, such as {example}")
    return unquote(parts.netloc)


def _dns(url: str) -> Discovery:
    parts = urlsplit(url)
    _query(parts)
    if not parts.hostname or parts.path.strip("/"):
        raise ValueError("dns:// needs a name, such as dns://workers.prod:7437 or dns://_woolexec._tcp.prod")
    return Dns(parts.hostname, _port(parts) or PORT)


def _ssh(url: str) -> Discovery:
    parts = urlsplit(url)
    if not parts.hostname or parts.password is not None:
        raise ValueError("ssh:// needs a host and takes no password, such as ssh://ada@node7")
    workers = parts.path.strip("/")
    if workers and not (workers.isdecimal() and len(workers) <= _DIGITS and int(workers)):
        raise ValueError(f"{workers[:_LONGEST]!r} is not a number of workers; write ssh://host/4 for four")
    host = f"{parts.username}@{parts.hostname}" if parts.username else parts.hostname
    return Ssh(host, _port(parts), workers=int(workers) if workers else None, **_query(parts, "python", "jump"))


_SCHEMES: dict[str, Callable[[str], Discovery]] = {
    "dir": _directory,
    "dns": _dns,
    "lan": _lan,
    "local": _local,
    "ssh": _ssh,
}
