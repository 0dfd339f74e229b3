"""
``woolexec serve``: be a peer.

It says that it is ready in one line on stdout.  SIGTERM or Ctrl-C: clients are told to send no more, and it ends when
what they have sent is done; a second one ends it at once.
"""

from __future__ import annotations

import contextlib
import json
import os
import queue
import signal
import sys
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli.settings import Setting, SettingError, gather, pair, positive, seconds

if TYPE_CHECKING:
    import argparse

    from woolexec.mesh.server import Peer

PORT = 7437

_LOOK = 0.1
"""How often to look whether a peer that drains has ended, in seconds."""

SETTINGS = (
    Setting("workers", "worker processes (default: the usable CPUs)", positive, metavar="N"),
    Setting(
        "bind",
        f"where to listen: HOST:PORT, port 0 for any that is free, or unix:/PATH (default: 127.0.0.1:{PORT})",
        default=f"127.0.0.1:{PORT}",
        metavar="ADDRESS",
    ),
    Setting("pool", "name of the pool that it belongs to", default="", metavar="NAME"),
    Setting("tag", "what clients may ask for; may be given several times", pair, (), "KEY=VALUE", many=True),
    Setting("token-file", "file of the token that clients must have (default: this user's)", metavar="FILE"),
    Setting("insecure", "let whoever reaches it run code here", default=False, metavar=None),
    Setting("drain-timeout", "seconds that tasks have to end after SIGTERM", seconds, 3600.0, "SECONDS"),
    Setting("json", "print the ready line as JSON", default=False, metavar=None),
)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to end; return the exit code."""
    from woolexec.errors import CredentialsError, PeerStartError

    try:
        settings = gather(SETTINGS, arguments)
        credentials = _credentials(settings)
    except (SettingError, CredentialsError, FileNotFoundError) as exc:
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 2
    from woolexec.cpus import usable_cpus
    from woolexec.mesh.server import Peer

    workers = settings["workers"] or usable_cpus()
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: signals.put(received))
    try:
        peer = Peer(
            workers,
            bind=settings["bind"],
            credentials=credentials,
            pool=settings["pool"],
            tags=settings["tag"],
            threads=max(1, usable_cpus() // workers),
        )
    except PeerStartError as exc:
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 1
    with peer:
        _say_ready(peer, as_json=settings["json"])
        return _serve(peer, signals, settings["drain-timeout"])


def _credentials(settings: dict[str, Any]) -> Any:
    """
    Find what clients must prove.

    :raises SettingError: if the address may not be served without more
    :raises CredentialsError: if the token cannot be used
    :raises FileNotFoundError: if there is no token file
    """
    from woolexec.mesh.credentials import Credentials

    if settings["insecure"]:
        print("woolexec serve: --insecure: whoever reaches this address can run code here", file=sys.stderr)
        return Credentials()
    if not _is_local(settings["bind"]):
        raise SettingError(
            f"{settings['bind']} can be reached from other hosts, and a token alone does not protect what travels "
            "there. Bind to 127.0.0.1 and reach it through `ssh -L`, or say --insecure in a network of your own"
        )
    if settings["token-file"] is not None:
        return Credentials.from_file(settings["token-file"])
    return Credentials.of_this_user()


def _is_local(address: str) -> bool:
    if address.startswith("unix:"):
        return True
    import ipaddress

    host = address.rpartition(":")[0].strip("[]")
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(host).is_loopback
    return host == "localhost"


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


def _serve(peer: Peer, signals: queue.SimpleQueue[int], drain_timeout: float) -> int:
    while not peer.ended:
        with contextlib.suppress(queue.Empty):
            signals.get(timeout=_LOOK * 10)
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
