"""
``woolexec serve``: run a peer.

When it is ready it prints one line to stdout.  After SIGTERM or Ctrl-C clients are told to send no more tasks, and it
ends when those that they have sent are done; a second signal ends it at once.  Its log is written to stderr: see
`woolexec.cli.log`.

With ``--lifeline`` it ends at once when its stdin is closed, and also when no client has been connected for `ALONE`
seconds, in case a connection breaks without notice.
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
from woolexec.cli.settings import (
    Setting,
    SettingError,
    folder,
    function,
    gather,
    listening,
    one_of,
    pair,
    positive,
    seconds,
    workers,
)
from woolexec.platform.ipc import unix_socket
from woolexec.platform.posix import SIGHUP
from woolexec.resources import amounts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from woolexec.discovery.base import Discovery
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.server.peer import Peer

ALONE = 60.0

GIVE_UP_AFTER = 300.0

_LOOK = 0.1
"""Seconds between two checks whether a draining peer has ended."""

_SOON = 30 * 86400.0
"""Seconds before the expiry of a certificate at which a warning is logged."""

_AT_ONCE = 2.0
"""Seconds after the second signal at which the process is ended, whatever it is doing."""

_log = logging.getLogger("woolexec.peer")

SERVE = "WOOLEXEC_SERVE_"
"""Prefix of the environment variables that would otherwise have the names of a client's variables."""

SETTINGS = (
    Setting("workers", "calls that run at once, of all clients (default: the usable CPUs)", workers, metavar="N"),
    Setting(
        "bind",
        "address to listen at: HOST, HOST:PORT (port 0: any free port) or unix:/PATH (default: a Unix socket that this "
        "user's clients find at local://)",
        listening,
        metavar="ADDRESS",
    ),
    Setting("pool", "name of the pool that the peer belongs to", default="", metavar="NAME"),
    Setting("tag", "a tag that tasks may require; may be given several times", pair, (), "KEY=VALUE", many=True),
    Setting(
        "resource", "a resource that tasks may require; may be given several times", pair, (), "NAME=AMOUNT", many=True
    ),
    Setting(
        "announce", "announce this peer at lan:// or dir:/FOLDER; may be given several times", str, (), "URL", many=True
    ),
    Setting(
        "peers",
        "other peers that may run the nested tasks of tasks; may be given several times",
        str,
        (),
        "URL",
        many=True,
    ),
    Setting("advertise", "address to announce instead of the one it listens at", str, (), "ADDRESS", many=True),
    Setting("token-file", "file of the token that clients must have (default: this user's); -: stdin", metavar="FILE"),
    Setting("tls-cert", "certificate of this peer, PEM", metavar="FILE", variable=f"{SERVE}TLS_CERT"),
    Setting("tls-key", "key of the certificate", metavar="FILE", variable=f"{SERVE}TLS_KEY"),
    Setting(
        "tls-ca", "authority that must have issued clients' certificates", metavar="FILE", variable=f"{SERVE}TLS_CA"
    ),
    Setting(
        "tls-revoked",
        "list of certificates that are not accepted (woolexec certs revoke)",
        metavar="FILE",
        variable=f"{SERVE}TLS_REVOKED",
    ),
    Setting("health", "also answer gRPC health probes at HOST:PORT, without TLS", listening, metavar="ADDRESS"),
    Setting("allow", "run only this function; may be given several times", function, None, "MODULE:NAME", many=True),
    Setting("audit", "append a line of JSON for each task that ends", metavar="FILE"),
    Setting("audit-limit", "size at which FILE is renamed FILE.1, FILE.2 to .4", positive, 64 << 20, metavar="BYTES"),
    Setting(
        "compression",
        "how large payloads are compressed on their way to and from other hosts",
        one_of("auto", "off", "zstd", "lz4"),
        "auto",
        "auto|off|zstd|lz4",
    ),
    Setting(
        "store-limit",
        "bytes of memory for outcomes that stay here (keep=True), of all clients (default: 30 %% of the memory)",
        positive,
        metavar="BYTES",
    ),
    Setting(
        "spill-dir", "folder for outcomes beyond store-limit; without one they go to clients", folder, metavar="FOLDER"
    ),
    Setting("insecure", "let anyone who can connect run code here", default=False, metavar=None),
    Setting("lifeline", "end when stdin is closed", default=False, metavar=None),
    Setting("drain-timeout", "seconds that tasks have to end after SIGTERM", seconds, 3600.0, "SECONDS"),
    Setting(
        "give-up-after",
        "seconds without any worker, because none can be started, after which it exits with 1",
        seconds,
        GIVE_UP_AFTER,
        "SECONDS",
    ),
    Setting("log-format", "format of the log on stderr", one_of(*FORMATS), "text", "|".join(FORMATS)),
    Setting("log-level", "lowest level that is logged", one_of(*LEVELS), "info", "|".join(LEVELS)),
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
    from woolexec.mesh.link.compression import formats

    try:
        settings = gather(SETTINGS, arguments)
        credentials = _credentials(settings, warnings.append)
        announce, peers = _announce(settings), _peers(settings)
        if settings["bind"] is None:
            _bind_locally(settings, announce)
        resources = amounts(settings["resource"])
        formats(settings["compression"])  # raises if it is not installed
    except (CredentialsError, FileNotFoundError, ValueError) as exc:
        for number, handler in before.items():
            signal.signal(number, handler)
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 2
    from woolexec.cpus import usable_cpus
    from woolexec.mesh.server.audit_log import Audit
    from woolexec.mesh.server.peer import Peer
    from woolexec.mesh.server.stays import Stays

    set_up(settings["log-format"], settings["log-level"])
    for text in warnings:
        _log.warning("%s", text)
    workers = settings["workers"] or usable_cpus()
    try:
        audit = Audit(settings["audit"], limit=settings["audit-limit"]) if settings["audit"] else None
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
            stays=Stays(settings["store-limit"], settings["spill-dir"]),
            threads=max(1, usable_cpus() // workers),
            give_up_after=settings["give-up-after"],
            is_wanted=signals.empty,
            compression=settings["compression"],
            quiet=True,
        )
    except (PeerStartError, DiscoveryError) as exc:
        if not signals.empty():  # told to end before it served: not a failure
            return _code_of(signals)
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 1
    with peer:
        peer.prepare()
        _say_ready(peer, as_json=settings["json"])
        if settings["lifeline"]:
            threading.Thread(target=_hold, args=(signals,), name="woolexec-stdin", daemon=True).start()
        return _serve(peer, signals, settings["drain-timeout"], alone=ALONE if settings["lifeline"] else None)


def _code_of(signals: queue.SimpleQueue[int]) -> int:
    """Return the exit code of a peer that was told to end before it served."""
    signals.get()
    return 0 if signals.empty() else 128 + signals.get()


def _announce(settings: dict[str, Any]) -> list[Discovery]:
    """
    Return the discoveries at which the peer is announced.

    :raises ValueError: if a URL or an address is invalid
    """
    if settings["advertise"] and settings["bind"] is None:
        raise SettingError("--advertise is of no use without --bind: a Unix socket can be reached from this host only")
    if not settings["announce"]:
        if settings["advertise"]:
            raise ValueError("--advertise must be given together with --announce")
        return []
    from woolexec.discovery.urls import check_address, discovery

    settings["advertise"] = [check_address(address) for address in settings["advertise"]]
    return [discovery("lan://" if url == "lan" else url) for url in settings["announce"]]


def _bind_locally(settings: dict[str, Any], announce: list[Discovery]) -> None:
    """
    Choose a Unix socket that clients of this user find by themselves.

    :raises CredentialsError: if other users can access its folder
    """
    from woolexec.discovery.local import Local
    from woolexec.mesh.server.socket_dir import fits

    local = Local()
    announce.append(local)
    address = local.new_address()
    if fits(address):  # else in a folder of its own, whose path is short
        settings["bind"] = address


def _peers(settings: dict[str, Any]) -> Sequence[Discovery]:
    """
    Return the discoveries that find other peers.

    :raises ValueError: if a URL is invalid
    """
    if not settings["peers"]:
        return ()
    from woolexec.discovery.urls import discoveries

    return discoveries(settings["peers"])


def _credentials(settings: dict[str, Any], warn: Callable[[str], object]) -> Credentials:
    """
    Return the credentials that clients must match.

    :param warn: called with each warning for the user
    :raises SettingError: if the address may not be served with these credentials
    :raises CredentialsError: if the token or a certificate cannot be used
    :raises FileNotFoundError: if there is no token file
    """
    from woolexec.mesh.client.channel import is_local
    from woolexec.mesh.security.credentials import Credentials

    names = ("token-file", "tls-ca", "tls-cert", "tls-key", "tls-revoked")
    token, ca, certificate, key, revoked = map(settings.get, names)
    if settings["insecure"]:
        if any((token, ca, certificate, key, revoked)):
            raise SettingError(
                "--insecure lets anyone in, so it must not be given together with --token-file or --tls-...; "
                "WOOLEXEC_TOKEN_FILE counts too"
            )
        warn("--insecure: anyone who can connect to this address can run code here")
        return Credentials()
    if (certificate is None) != (key is None) or (ca is not None and certificate is None):
        raise SettingError("--tls-cert and --tls-key must be given together, and --tls-ca only with them")
    if revoked is not None and ca is None:
        raise SettingError("--tls-revoked must be given together with --tls-ca")
    bind = settings["bind"]
    if not (bind is None or is_local(bind) or token or (certificate and ca)):
        raise SettingError(
            f"{bind} can be reached from other hosts, so say who may use it. Make a token with `woolexec certs token "
            "--file FILE`, which clients need too, and give --token-file FILE; or make certificates with `woolexec "
            "certs init` and `woolexec certs issue peer`, and give --tls-cert, --tls-key and "
            f"--tls-ca{_hint()}; or bind to 127.0.0.1 and connect through ssh://; or, in a network that you trust, "
            "give --insecure"
        )
    if token == "-":  # noqa: S105  # the name of a file
        own = Credentials.from_text(sys.stdin.buffer.readline().strip(), "stdin")
    elif token:
        own = Credentials.from_file(token)
    elif ca and certificate:  # clients' certificates are sufficient
        own = Credentials()
    else:
        own = Credentials.of_this_user()
    if certificate is None:
        return own
    made = replace(own, tls=Credentials.from_files(None, ca, certificate, key, revoked).tls)
    _check_certificate(made, warn)
    return made


def _hint() -> str:
    """Return a hint for a user who set the variable of a client's certificate for the peer, else an empty string."""
    name = "WOOLEXEC_TLS_CERT"
    return f" ({name} is the variable of clients; a peer's is {SERVE}TLS_CERT)" if name in os.environ else ""


def _check_certificate(credentials: Credentials, warn: Callable[[str], object]) -> None:
    """
    Refuse a certificate that no client would accept, and warn of one that expires soon.

    :raises CredentialsError: if it has the wrong role, is not valid now, or was not issued by its authority
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
    """Notify systemd, if it asked for that: see sd_notify(3)."""
    path = os.environ.get("NOTIFY_SOCKET")
    if not path:
        return
    with contextlib.suppress(OSError), unix_socket("DGRAM") as sock:
        sock.sendto(state.encode(), "\0" + path[1:] if path.startswith("@") else path)


def _hold(signals: queue.SimpleQueue[int]) -> None:
    """Put a SIGHUP into `signals` when stdin is closed."""
    with contextlib.suppress(OSError, ValueError):
        # Not through the buffer: at exit the interpreter acquires its lock, and aborts if this thread reads with it.
        while os.read(sys.stdin.fileno(), 4096):
            pass
    signals.put(SIGHUP)


def _serve(peer: Peer, signals: queue.SimpleQueue[int], drain_timeout: float, alone: float | None) -> int:
    seen = monotonic()
    while not (peer.ended or peer.gave_up):
        if peer.clients:
            seen = monotonic()
        elif alone is not None and monotonic() - seen > alone:
            return 0
        with contextlib.suppress(queue.Empty):
            if signals.get(timeout=_LOOK * 10) == SIGHUP:
                return 0
            break
    else:
        if peer.ended:
            _log.error("the peer ended because of an error")
            return 1
        _log.error("giving up, because no worker could be started: %s", peer.gave_up)
    _notify("STOPPING=1")
    peer.drain()
    deadline = monotonic() + drain_timeout
    while not peer.ended:
        with contextlib.suppress(queue.Empty):
            return _end_at_once(128 + signals.get(timeout=_LOOK))
        if monotonic() > deadline:
            _log.error("tasks still ran after %g s and were ended (see --drain-timeout)", drain_timeout)
            return 1
    return 1 if peer.gave_up else 0


def _end_at_once(code: int) -> int:
    """Make the process end soon with this code; its workers end with it."""
    timer = threading.Timer(_AT_ONCE, os._exit, (code,))
    timer.name = "woolexec-exit"
    timer.daemon = True
    timer.start()
    return code
