"""
``woolexec serve``: run a peer.

When the peer is ready, it prints one line to stdout.  After SIGTERM or Ctrl-C it tells clients to send no more tasks,
and ends when the tasks that they have sent are done; a second signal ends it at once.  The log is written to stderr:
see `woolexec.cli.log`.

With ``--lifeline`` the peer ends at once when its stdin is closed, and also when no client has been connected for
`ALONE` seconds, in case a connection breaks unnoticed; ``--lease`` sets that time, also without ``--lifeline``.
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
from time import monotonic
from typing import TYPE_CHECKING, Any

from woolexec.cli import serve_dashboard, serve_metrics
from woolexec.cli.log import set_up
from woolexec.cli.serve_credentials import own_credentials
from woolexec.cli.serve_settings import SETTINGS
from woolexec.cli.settings import SettingError, gather
from woolexec.platform.ipc import unix_socket
from woolexec.platform.posix import SIGHUP
from woolexec.resources import amounts

if TYPE_CHECKING:
    import argparse
    from collections.abc import Sequence

    from woolexec.discovery.base import Discovery
    from woolexec.engine.peer_upkeep import Rules
    from woolexec.mesh.server.peer import Peer

ALONE = 60.0

_LOOK = 0.1
"""Seconds between two checks whether a draining peer has ended."""

_AT_ONCE = 2.0
"""Seconds after the second signal at which the process is ended unconditionally."""

_log = logging.getLogger("woolexec.peer")


def run(arguments: argparse.Namespace) -> int:
    """Serve until a signal or a closed stdin ends the peer; return the exit code."""
    signals = _Signals()
    before = {number: signal.signal(number, signals.receive) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        return _run(arguments, signals)
    except _ToldToEnd:
        return _code_of(signals)
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


class _ToldToEnd(BaseException):
    """A signal was received before there was a peer."""


class _Signals(queue.SimpleQueue[int]):
    """The signals that were received."""

    interrupts = True
    """Whether the first signal raises `_ToldToEnd`: reading the settings may wait, for example for a token on stdin."""

    def receive(self, number: int, _frame: object) -> None:
        """Handle a signal."""
        self.put(number)
        if self.interrupts:
            self.interrupts = False
            raise _ToldToEnd


def _run(arguments: argparse.Namespace, signals: _Signals) -> int:
    warnings: list[str] = []
    from woolexec.errors import CredentialsError, DiscoveryError, PeerStartError
    from woolexec.mesh.link.compression import formats

    try:
        settings = gather(SETTINGS, arguments)
        credentials = own_credentials(settings, warnings.append)
        announce, peers = _announce(settings), _peers(settings)
        if settings["bind"] is None:
            _bind_locally(settings, announce)
        resources = amounts(settings["resource"])
        if "gpu" in resources:
            from woolexec.engine.gpus import devices_of

            devices_of(resources, os.environ)  # raises if there are fewer
        formats(settings["compression"])  # raises if it is not installed
        serve_metrics.check(settings["metrics"])
        serve_dashboard.check(settings["dashboard"])
    except (CredentialsError, FileNotFoundError, ValueError) as exc:
        print(f"woolexec serve: {exc}", file=sys.stderr)
        return 2
    signals.interrupts = False
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
            rules=_rules(settings),
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
    with peer, contextlib.ExitStack() as stack:
        urls = {}
        for name, serve in (("metrics", serve_metrics.metrics_of), ("dashboard", serve_dashboard.page_of)):
            try:
                served = stack.enter_context(serve(peer, settings[name]))
            except OSError as exc:
                print(f"woolexec serve: --{name} {':'.join(map(str, settings[name]))}: {exc.strerror}", file=sys.stderr)
                return 1
            if served is not None:
                urls[name] = served.url
        peer.prepare()
        _say_ready(peer, urls, as_json=settings["json"])
        if settings["lifeline"]:
            threading.Thread(target=_hold, args=(signals,), name="woolexec-stdin", daemon=True).start()
        alone = settings["lease"] or (ALONE if settings["lifeline"] else None)
        return _serve(peer, signals, settings["drain-timeout"], alone=alone)


def _rules(settings: dict[str, Any]) -> Rules:
    """Return the operator's rules for the workers."""
    from woolexec.core.memory_limits import MemoryLimits
    from woolexec.engine.peer_upkeep import Rules

    limits = MemoryLimits(settings["max-memory-per-child"], settings["memory-limit"])
    return Rules(limits, takes_environment=not settings["no-environment"])


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
        raise SettingError("--advertise needs --bind: a Unix socket can be reached only from this host")
    if not settings["announce"]:
        if settings["advertise"]:
            raise ValueError("--advertise must be given together with --announce")
        return []
    from woolexec.discovery.urls import check_address, discovery

    settings["advertise"] = [check_address(address) for address in settings["advertise"]]
    return [discovery("lan://" if url == "lan" else url) for url in settings["announce"]]


def _bind_locally(settings: dict[str, Any], announce: list[Discovery]) -> None:
    """
    Choose a Unix socket that clients of this user find automatically.

    :raises CredentialsError: if other users can access its folder
    """
    from woolexec.discovery.local import Local
    from woolexec.mesh.server.socket_dir import fits

    local = Local()
    announce.append(local)
    address = local.new_address()
    if fits(address):  # otherwise in a separate folder with a short path
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


def _say_ready(peer: Peer, urls: dict[str, str], *, as_json: bool) -> None:
    about = {"address": peer.address, "pid": os.getpid(), "workers": peer.width, "identity": peer.identity}
    if as_json:
        print(json.dumps({**about, **urls}), flush=True)
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
    """Make the process exit soon with this code; its workers end with it."""
    timer = threading.Timer(_AT_ONCE, os._exit, (code,))
    timer.name = "woolexec-exit"
    timer.daemon = True
    timer.start()
    return code
