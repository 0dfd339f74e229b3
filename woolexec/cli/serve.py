"""
``woolexec serve``: be a peer.

It says that it is ready in one line on stdout.  SIGTERM or Ctrl-C: clients are told to send no more, and it ends when
what they have sent is done; a second one ends it at once.

With ``--lifeline`` it lives as long as whoever holds its stdin: at the end of that it ends at once, and also when no
client has been linked for `ALONE` seconds, for connections that break without a word.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli.settings import Setting, SettingError, function, gather, pair, positive, seconds
from woolexec.requirement import amounts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from woolexec.mesh.credentials import Credentials
    from woolexec.mesh.discovery import Discovery
    from woolexec.mesh.server import Peer

ALONE = 60.0

_LOOK = 0.1
"""How often to look whether a peer that drains has ended, in seconds."""

SETTINGS = (
    Setting("workers", "worker processes (default: the usable CPUs)", positive, metavar="N"),
    Setting(
        "bind",
        "where to listen: HOST:PORT, port 0 for any that is free, or unix:/PATH (default: 127.0.0.1:7437)",
        default="127.0.0.1:7437",
        metavar="ADDRESS",
    ),
    Setting("pool", "name of the pool that it belongs to", default="", metavar="NAME"),
    Setting("tag", "what tasks may require; may be given several times", pair, (), "KEY=VALUE", many=True),
    Setting(
        "resource", "what tasks may require some of; may be given several times", pair, (), "NAME=AMOUNT", many=True
    ),
    Setting(
        "announce", "tell of this peer at lan:// or dir:/FOLDER; may be given several times", str, (), "URL", many=True
    ),
    Setting(
        "peers",
        "where the tasks that tasks submit may run as well; may be given several times",
        str,
        (),
        "URL",
        many=True,
    ),
    Setting("advertise", "an address to tell instead of where it listens", str, (), "ADDRESS", many=True),
    Setting("token-file", "file of the token that clients must have (default: this user's); -: stdin", metavar="FILE"),
    Setting("tls-cert", "certificate to show, PEM", metavar="FILE"),
    Setting("tls-key", "its key", metavar="FILE"),
    Setting("tls-ca", "authority whose certificates clients must have", metavar="FILE"),
    Setting("health", "also answer gRPC health probes at HOST:PORT, without TLS", metavar="ADDRESS"),
    Setting(
        "allow", "run this function and no other; may be given several times", function, (), "MODULE:NAME", many=True
    ),
    Setting("audit", "append a line of JSON for each task that ends", metavar="FILE"),
    Setting("insecure", "let whoever reaches it run code here", default=False, metavar=None),
    Setting("lifeline", "end with stdin", default=False, metavar=None),
    Setting("drain-timeout", "seconds that tasks have to end after SIGTERM", seconds, 3600.0, "SECONDS"),
    Setting("json", "print the ready line as JSON", default=False, metavar=None),
)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to end; return the exit code."""
    from woolexec.errors import CredentialsError, DiscoveryError, PeerStartError

    try:
        settings = gather(SETTINGS, arguments)
        credentials = _credentials(settings)
        announce, peers = _announce(settings), _peers(settings)
        resources = amounts(settings["resource"])
    except (CredentialsError, FileNotFoundError, ValueError) as exc:
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 2
    from woolexec.cpus import usable_cpus
    from woolexec.mesh.audit import Audit
    from woolexec.mesh.server import Peer

    workers = settings["workers"] or usable_cpus()
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    try:
        audit = Audit(settings["audit"]) if settings["audit"] else None
    except OSError as exc:
        print(f"woolexec serve: {settings['audit']}: {exc.strerror}", file=sys.stderr)
        return 2
    try:
        peer = Peer(
            workers,
            bind=settings["bind"],
            credentials=credentials,
            pool=settings["pool"],
            tags=settings["tag"],
            resources=resources,
            health=settings["health"],
            announce=announce,
            advertise=settings["advertise"],
            peers=peers,
            allow=settings["allow"],
            audit=audit,
            threads=max(1, usable_cpus() // workers),
        )
    except (PeerStartError, DiscoveryError) as exc:
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 1
    with peer:
        _say_ready(peer, as_json=settings["json"])
        if settings["lifeline"]:
            threading.Thread(target=_hold, args=(signals,), daemon=True).start()
        return _serve(peer, signals, settings["drain-timeout"], alone=ALONE if settings["lifeline"] else None)


def _announce(settings: dict[str, Any]) -> list[Discovery]:
    """
    Make what the peer is announced by.

    :raises ValueError: if it makes no sense
    """
    if not settings["announce"]:
        return []
    from woolexec.mesh.discovery.urls import check_address, discovery

    settings["advertise"] = [check_address(address) for address in settings["advertise"]]
    return [discovery("lan://" if url == "lan" else url) for url in settings["announce"]]


def _peers(settings: dict[str, Any]) -> Sequence[Discovery]:
    """
    Make what other peers are found by.

    :raises ValueError: if it makes no sense
    """
    if not settings["peers"]:
        return ()
    from woolexec.mesh.discovery.urls import discoveries

    return discoveries(settings["peers"])


def _credentials(settings: dict[str, Any]) -> Credentials:
    """
    Find what clients must prove.

    :raises SettingError: if the address may not be served without more
    :raises CredentialsError: if the token or a certificate cannot be used
    :raises FileNotFoundError: if there is no token file
    """
    from woolexec.mesh.channel import is_local
    from woolexec.mesh.credentials import Credentials

    token, ca, certificate, key = (settings[name] for name in ("token-file", "tls-ca", "tls-cert", "tls-key"))
    if settings["insecure"]:
        print("woolexec serve: --insecure: whoever reaches this address can run code here", file=sys.stderr)
        return Credentials()
    if (ca or key) and not certificate:
        raise SettingError("TLS takes a certificate: --tls-cert, with its --tls-key")
    if not (is_local(settings["bind"]) or (certificate and (ca or token))):
        raise SettingError(
            f"{settings['bind']} can be reached from other hosts, and a token alone does not protect what travels "
            "there. Make certificates with `woolexec certs init` and `woolexec certs issue peer`, and say --tls-cert, "
            "--tls-key and --tls-ca; or bind to 127.0.0.1 and reach it through ssh://; or say --insecure in a network "
            "of your own"
        )
    if token == "-":  # noqa: S105  # the name of a file
        own = Credentials.from_text(sys.stdin.buffer.readline().strip(), "stdin")
    elif token:
        own = Credentials.from_file(token)
    elif ca and certificate:  # the certificates of clients say enough
        own = Credentials()
    else:
        own = Credentials.of_this_user()
    return replace(own, tls=Credentials.from_files(None, ca, certificate, key).tls if certificate else None)


def _say_ready(peer: Peer, *, as_json: bool) -> None:
    about = {"address": peer.address, "pid": os.getpid(), "workers": peer.width, "identity": peer.identity}
    if as_json:
        print(json.dumps(about), flush=True)
    else:
        print(f"woolexec peer at {peer.address}, pid {os.getpid()}, {peer.width} workers", flush=True)
    _notify("READY=1")


def _notify(state: str) -> None:
    """Tell systemd, if it asked to be told: see sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    import socket

    with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def _hold(signals: queue.SimpleQueue[int]) -> None:
    """Tell the end of stdin."""
    with contextlib.suppress(OSError, ValueError):
        # Not through its buffer: at its end the interpreter takes the lock of that, and aborts if we wait under it.
        while os.read(sys.stdin.fileno(), 4096):
            pass
    signals.put(signal.SIGHUP)


def _serve(peer: Peer, signals: queue.SimpleQueue[int], drain_timeout: float, alone: float | None) -> int:
    seen = monotonic()
    while not peer.ended:
        if peer.clients:
            seen = monotonic()
        elif alone is not None and monotonic() - seen > alone:
            return 0
        with contextlib.suppress(queue.Empty):
            if signals.get(timeout=_LOOK * 10) == signal.SIGHUP:
                return 0
            break
    else:
        print("woolexec serve: the peer has failed", file=sys.stderr)
        return 1
    _notify("STOPPING=1")
    peer.drain()
    deadline = monotonic() + drain_timeout
    while not peer.ended:
        with contextlib.suppress(queue.Empty):
            return 128 + signals.get(timeout=_LOOK)
        if monotonic() > deadline:
            print(f"woolexec serve: tasks still ran after {drain_timeout:g} s, and were ended", file=sys.stderr)
            return 1
    return 0
