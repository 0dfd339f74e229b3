"""
``woolexec serve``: be a peer.

It says that it is ready in one line on stdout.  SIGTERM or Ctrl-C: clients are told to send no more, and it ends when
what they have sent is done; a second one ends it at once.  What it has to tell goes to stderr: see `woolexec.cli.log`.

With ``--lifeline`` it lives as long as whoever holds its stdin: at the end of that it ends at once, and also when no
client has been linked for `ALONE` seconds, for connections that break without a word.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import queue
import signal
import sys
import threading
from dataclasses import replace
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli.log import FORMATS, LEVELS, set_up
from woolexec.cli.settings import Setting, SettingError, function, gather, listening, one_of, pair, positive, seconds
from woolexec.resources import amounts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from woolexec.discovery.base import Discovery
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.server.peer import Peer

ALONE = 60.0

_LOOK = 0.1
"""How often to look whether a peer that drains has ended, in seconds."""

_SOON = 30 * 86400.0
"""Seconds before its end at which a certificate is told of."""

_AT_ONCE = 2.0
"""Seconds after the second signal until the process ends, whatever it is doing."""

_log = logging.getLogger("woolexec.peer")

SERVE = "WOOLEXEC_SERVE_"
"""How the variables begin that would else have the names of a client's."""

SETTINGS = (
    Setting("workers", "worker processes (default: the usable CPUs)", positive, metavar="N"),
    Setting(
        "bind",
        "where to listen: HOST, HOST:PORT, port 0 for any that is free, or unix:/PATH",
        listening,
        "127.0.0.1:7437",
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
    Setting("tls-cert", "certificate to show, PEM", metavar="FILE", variable=f"{SERVE}TLS_CERT"),
    Setting("tls-key", "its key", metavar="FILE", variable=f"{SERVE}TLS_KEY"),
    Setting("tls-ca", "authority whose certificates clients must have", metavar="FILE", variable=f"{SERVE}TLS_CA"),
    Setting("health", "also answer gRPC health probes at HOST:PORT, without TLS", listening, metavar="ADDRESS"),
    Setting(
        "allow", "run this function and no other; may be given several times", function, (), "MODULE:NAME", many=True
    ),
    Setting("audit", "append a line of JSON for each task that ends", metavar="FILE"),
    Setting("insecure", "let whoever reaches it run code here", default=False, metavar=None),
    Setting("lifeline", "end with stdin", default=False, metavar=None),
    Setting("drain-timeout", "seconds that tasks have to end after SIGTERM", seconds, 3600.0, "SECONDS"),
    Setting("log-format", "how the log on stderr is written", one_of(*FORMATS), "text", "|".join(FORMATS)),
    Setting("log-level", "what is left out of the log: all below", one_of(*LEVELS), "info", "|".join(LEVELS)),
    Setting("json", "print the ready line as JSON", default=False, metavar=None),
)


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to end; return the exit code."""
    signals: queue.SimpleQueue[int] = queue.SimpleQueue()
    before = {
        number: signal.signal(number, lambda received, _: signals.put(received))
        for number in (signal.SIGTERM, signal.SIGINT)
    }
    warnings: list[str] = []
    from woolexec.errors import CredentialsError, DiscoveryError, PeerStartError

    try:
        settings = gather(SETTINGS, arguments)
        credentials = _credentials(settings, warnings.append)
        announce, peers = _announce(settings), _peers(settings)
        resources = amounts(settings["resource"])
    except (CredentialsError, FileNotFoundError, ValueError) as exc:
        for number, handler in before.items():
            signal.signal(number, handler)
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 2
    from woolexec.cpus import usable_cpus
    from woolexec.mesh.server.audit_log import Audit
    from woolexec.mesh.server.peer import Peer

    set_up(settings["log-format"], settings["log-level"])
    for text in warnings:
        _log.warning("%s", text)
    workers = settings["workers"] or usable_cpus()
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
            is_wanted=signals.empty,
            quiet=True,
        )
    except (PeerStartError, DiscoveryError) as exc:
        if not signals.empty():  # nobody was there whom it could have left waiting
            return _code_of(signals)
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 1
    with peer:
        _say_ready(peer, as_json=settings["json"])
        if settings["lifeline"]:
            threading.Thread(target=_hold, args=(signals,), daemon=True).start()
        return _serve(peer, signals, settings["drain-timeout"], alone=ALONE if settings["lifeline"] else None)


def _code_of(signals: queue.SimpleQueue[int]) -> int:
    """Return the exit code of a peer that was told to end before it served."""
    signals.get()
    return 0 if signals.empty() else 128 + signals.get()


def _announce(settings: dict[str, Any]) -> list[Discovery]:
    """
    Make what the peer is announced by.

    :raises ValueError: if it makes no sense
    """
    if not settings["announce"]:
        return []
    from woolexec.discovery.urls import check_address, discovery

    settings["advertise"] = [check_address(address) for address in settings["advertise"]]
    return [discovery("lan://" if url == "lan" else url) for url in settings["announce"]]


def _peers(settings: dict[str, Any]) -> Sequence[Discovery]:
    """
    Make what other peers are found by.

    :raises ValueError: if it makes no sense
    """
    if not settings["peers"]:
        return ()
    from woolexec.discovery.urls import discoveries

    return discoveries(settings["peers"])


def _credentials(settings: dict[str, Any], warn: Callable[[str], object]) -> Credentials:
    """
    Find what clients must prove.

    :param warn: told what the user should know
    :raises SettingError: if the address may not be served without more
    :raises CredentialsError: if the token or a certificate cannot be used
    :raises FileNotFoundError: if there is no token file
    """
    from woolexec.mesh.client.channel import is_local
    from woolexec.mesh.security.credentials import Credentials

    token, ca, certificate, key = (settings[name] for name in ("token-file", "tls-ca", "tls-cert", "tls-key"))
    if settings["insecure"]:
        warn("--insecure: whoever reaches this address can run code here")
        return Credentials()
    if (certificate is None) != (key is None) or (ca and not certificate):
        raise SettingError("--tls-cert and --tls-key must be given together, and --tls-ca only with them")
    if not (is_local(settings["bind"]) or (certificate and (ca or token))):
        raise SettingError(
            f"{settings['bind']} can be reached from other hosts, and a token alone does not protect what travels "
            "there. Make certificates with `woolexec certs init` and `woolexec certs issue peer`, and give --tls-cert, "
            f"--tls-key and --tls-ca{_hint()}; or bind to 127.0.0.1 and reach it through ssh://; or say --insecure in "
            "a network of your own"
        )
    if token == "-":  # noqa: S105  # the name of a file
        own = Credentials.from_text(sys.stdin.buffer.readline().strip(), "stdin")
    elif token:
        own = Credentials.from_file(token)
    elif ca and certificate:  # the certificates of clients say enough
        own = Credentials()
    else:
        own = Credentials.of_this_user()
    if certificate is None:
        return own
    made = replace(own, tls=Credentials.from_files(None, ca, certificate, key).tls)
    _check_certificate(made, warn)
    return made


def _hint() -> str:
    """Say so where the certificate of a client was meant to be the peer's."""
    name = "WOOLEXEC_TLS_CERT"
    return f" ({name} is the variable of clients; a peer's is {SERVE}TLS_CERT)" if name in os.environ else ""


def _check_certificate(credentials: Credentials, warn: Callable[[str], object]) -> None:
    """
    Refuse a certificate that no client would accept, and tell of one that will soon be none.

    :raises CredentialsError: if it is of the wrong role, not valid now, or not of its authority
    """
    from woolexec.mesh.security.tls import PEER

    assert credentials.tls is not None
    left = credentials.tls.check_own(PEER)
    if left < _SOON:
        warn(f"certificate {credentials.tls.certificate} expires in {left // 86400:.0f} days")


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
        _log.error("the peer has failed")
        return 1
    _notify("STOPPING=1")
    peer.drain()
    deadline = monotonic() + drain_timeout
    while not peer.ended:
        with contextlib.suppress(queue.Empty):
            return _end_at_once(128 + signals.get(timeout=_LOOK))
        if monotonic() > deadline:
            _log.error("tasks still ran after %g s, and were ended", drain_timeout)
            return 1
    return 0


def _end_at_once(code: int) -> int:
    """See to it that the process ends soon with this code; workers end with it."""
    timer = threading.Timer(_AT_ONCE, os._exit, (code,))
    timer.daemon = True
    timer.start()
    return code
