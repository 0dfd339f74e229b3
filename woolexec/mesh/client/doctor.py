"""
Check the connection to a peer, step by step: ``woolexec doctor``.

::

    address --> names --> connection --> our certificate --> TLS --> versions, token --> link --> clock --> round trip

No task is sent.  The first step that fails ends the check, because the later steps depend on it.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import statistics
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from functools import partial
from time import perf_counter, time
from typing import TYPE_CHECKING

from woolexec.core.offer import Offer
from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.mesh.client.between import UsablePeer
from woolexec.mesh.client.channel import any_certificate, at_any, greet, open_channel, open_link, said_in, to_peer
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.security.certificate import Certificate
from woolexec.mesh.security.handshake import DRAINING, FREE_KEY, Caller
from woolexec.mesh.security.self_signed import SELF_SIGNED
from woolexec.mesh.security.tls import CLIENT
from woolexec.resources import amounts

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.wire.wire_pb2 import Welcome

PATIENCE = 5.0
"""Seconds for each step."""

_TRIPS = 20

_SOON = 30 * 86400.0
"""The user is warned if this client's certificate expires within this many seconds."""

_ENDED = "the peer ended the connection"

_PLAIN = "is it a woolexec peer? One that was started with --insecure, or of an older version, does not use TLS"

_CLOCK = 30.0
"""Seconds that clocks may differ before certificates and logs become confusing."""


@dataclass(frozen=True, slots=True)
class Step:
    """
    The result of one check.

    :param found: what was found
    :param advice: what to do if it does not work
    """

    name: str
    works: bool
    found: str
    advice: str = ""


async def look(address: str, credentials: Credentials, pool: str = "") -> Welcome:
    """
    Ask a peer for its description of itself.

    :raises PeerRefusedError: if it does not answer as a peer should
    :raises CredentialsError: if a certificate file cannot be read
    """
    return (await _look(address, credentials, pool))[0]


async def _look(address: str, credentials: Credentials, pool: str = "") -> tuple[Welcome, str | None, str]:
    """
    Open a link, and close it again.

    :return: the peer's description, the number of its free places, and the host's address that was used
    """
    return await at_any(address, partial(_look_at, address, credentials, pool))


async def _look_at(address: str, credentials: Credentials, pool: str, at: str) -> tuple[Welcome, str | None, str]:
    grpc = load_grpc()

    try:
        async with asyncio.timeout(PATIENCE), open_channel(address, credentials, at=at) as channel:
            _, opening = await greet(channel, Caller(credentials.token, pool))
            stream, welcome = await open_link(channel, opening)
            free = dict(await stream.initial_metadata()).get(FREE_KEY)
            stream.cancel()
            return welcome, free, at
    except TimeoutError as exc:
        raise PeerRefusedError(f"no answer in {PATIENCE:g} s") from exc
    except grpc.RpcError as exc:
        raise PeerRefusedError(said_in(exc)) from exc


async def examine(
    address: str, credentials: Credentials, on_found: Callable[[UsablePeer], object] = lambda _: None
) -> AsyncIterator[Step]:
    """
    Yield the result of each step, up to the first that fails.

    :param on_found: called with the peer, if a link to it can be made
    """
    steps = _Steps(address, credentials)
    for step in (
        steps.names,
        steps.connection,
        steps.certificate,
        steps.encryption,
        steps.handshake,
        steps.clock,
        steps.trips,
    ):
        async for done in step():
            yield done
            if not done.works:
                return
    assert steps.welcome is not None
    on_found(UsablePeer(address, steps.welcome, credentials))


class _Steps:
    def __init__(self, address: str, credentials: Credentials) -> None:
        self._address = address
        self._credentials = credentials
        host, _, port = address.rpartition(":")
        self._at = address
        self._is_unix = address.startswith("unix:")
        self._host, self._port = host.strip("[]"), int(port) if port.isdecimal() else 0
        self._names_shown: frozenset[bytes] = frozenset()  # the names in the certificate
        self.welcome: Welcome | None = None
        self._seen = 0.0

    async def names(self) -> AsyncIterator[Step]:
        """Look up the host."""
        if self._is_unix:
            return
        try:
            found = await asyncio.get_running_loop().getaddrinfo(self._host, self._port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as exc:  # or it is not the name of a host
            advice = f"is {self._host!r} spelt correctly? Check it with: getent hosts {self._host}"
            yield Step("name", works=False, found=str(exc), advice=advice)
            return
        yield Step("name", works=True, found=", ".join(dict.fromkeys(str(sockaddr[0]) for *_, sockaddr in found)))

    async def connection(self) -> AsyncIterator[Step]:
        """Connect."""
        begun = perf_counter()
        try:
            async with asyncio.timeout(PATIENCE):
                _, writer = await to_peer(self._address)
        except TimeoutError:
            advice = "a firewall may drop the packets, or the host is down"
            yield Step("connection", works=False, found=f"no answer in {PATIENCE:g} s", advice=advice)
        except ConnectionRefusedError:
            advice = "nothing listens there: is `woolexec serve` running, with this --bind?"
            yield Step("connection", works=False, found="refused", advice=advice)
        except OSError as exc:
            advice = "is the path correct?" if self._is_unix else "is there a route to that host?"
            yield Step("connection", works=False, found=exc.strerror or str(exc), advice=advice)
        else:
            writer.close()
            yield Step("connection", works=True, found=f"{(perf_counter() - begun) * 1e3:.1f} ms")

    async def certificate(self) -> AsyncIterator[Step]:
        """Check the certificate that this client will show."""
        tls = self._credentials.tls
        if tls is None or tls.certificate is None:
            return
        try:
            left = tls.check_own(CLIENT)
        except (CredentialsError, OSError) as exc:
            advice = "WOOLEXEC_TLS_CERT names it; `woolexec certs issue client` makes one"
            yield Step("our certificate", works=False, found=str(exc), advice=advice)
            return
        advice = "" if left > _SOON else "renew it with `woolexec certs issue client`"
        yield Step("our certificate", works=True, found=f"valid for {left / 86400:.0f} days", advice=advice)

    async def encryption(self) -> AsyncIterator[Step]:
        """Do the TLS handshake, or check that the peer does not use TLS."""
        tls = self._credentials.tls
        if tls is None:
            async for step in self._own_certificate():
                yield step
            return
        context = ssl.create_default_context(cafile=tls.ca)
        context.set_alpn_protocols(["h2"])
        if tls.certificate is not None:
            context.load_cert_chain(tls.certificate, tls.key)
        error = await self._encrypt(context, tls.name or self._host)
        if error is None:
            yield Step("TLS", works=True, found="the peer's certificate is valid")
        elif self._is_about_us(error):
            shown = "none was shown" if tls.certificate is None else f"it does not accept {tls.certificate}"
            found = f"the peer requires a certificate from its authority: {shown} ({error})"
            advice = (
                "set WOOLEXEC_TLS_CERT and WOOLEXEC_TLS_KEY to a client's certificate: `woolexec certs issue client`"
            )
            yield Step("TLS", works=False, found=found, advice=advice)
        else:
            advice = (
                "is the peer's certificate valid now, for a peer, from this authority? See `woolexec certs show FILE`"
            )
            if isinstance(error, ssl.SSLError) and not isinstance(error, ssl.SSLCertVerificationError):
                advice = _PLAIN
            yield Step("TLS", works=False, found=str(error), advice=advice)

    async def _own_certificate(self) -> AsyncIterator[Step]:
        """Check that a port uses TLS, with the peer's self-made certificate, if there is a token; otherwise no TLS."""
        is_expected = self._credentials.token is not None and not self._is_unix
        error = await self._encrypt(any_certificate(), SELF_SIGNED)
        if error is None and is_expected and SELF_SIGNED.encode() in self._names_shown:
            yield Step("TLS", works=True, found="the peer shows a certificate, which its proof of the token covers")
        elif error is None:
            advice = "set WOOLEXEC_TLS_CA to its authority, WOOLEXEC_TLS_CERT and _KEY to your certificate"
            yield Step("TLS", works=False, found="the peer uses TLS, but no certificates are given", advice=advice)
        elif is_expected and isinstance(error, ssl.SSLError):
            yield Step("TLS", works=False, found=f"the server there does not use TLS ({error})", advice=_PLAIN)

    async def _encrypt(self, context: ssl.SSLContext, name: str) -> Exception | None:
        writer = None
        try:
            async with asyncio.timeout(PATIENCE):
                reader, writer = await to_peer(self._address, ssl=context, server_hostname=name)
                der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
                self._names_shown = Certificate.from_der(der).dns_names
                # With TLS 1.3 a peer checks the client's certificate last, then sends its settings or an alert.
                if self._credentials.tls is not None and not await reader.read(1):
                    raise ConnectionResetError(_ENDED)
        except (OSError, TimeoutError, ValueError) as exc:  # ssl's errors are OSErrors
            return exc
        finally:
            if writer is not None:
                writer.transport.abort()  # a proper TLS shutdown waits for the peer
                with contextlib.suppress(OSError, TimeoutError):
                    async with asyncio.timeout(PATIENCE):
                        await writer.wait_closed()
        return None

    @staticmethod
    def _is_about_us(error: Exception) -> bool:
        """Whether the peer ended the connection, rather than this client."""
        return "ALERT" in str(getattr(error, "reason", "")) or isinstance(error, ConnectionResetError)

    async def handshake(self) -> AsyncIterator[Step]:
        """Authenticate both ends, compare versions and open a link."""
        try:
            self.welcome, free, self._at = await _look(self._address, self._credentials)
        except (PeerRefusedError, CredentialsError) as exc:
            name = "link" if str(exc) == DRAINING else "peer"
            yield Step(name, works=False, found=str(exc), advice=_advice(str(exc)))
            return
        self._seen = time()
        welcome = self.welcome
        offer = str(Offer(welcome.tag, amounts(welcome.resource)))
        yield Step(
            "peer",
            works=True,
            found=f"woolexec {welcome.woolexec or '(from sources)'}, Python {welcome.python} on {welcome.host}, pid "
            f"{welcome.pid}, {welcome.workers} workers{f', pool {welcome.pool}' if welcome.pool else ''}"
            f"{f', {offer}' if offer else ''}",
        )
        if free == "0":
            advice = "new tasks wait until others end; start another peer, or give this one more --workers"
            yield Step("link", works=True, found="the peer accepts the link, but has no free places", advice=advice)
            return
        yield Step("link", works=True, found=f"the peer accepts the link{f'; {free} places are free' if free else ''}")

    async def clock(self) -> AsyncIterator[Step]:
        """Compare clocks: woolexec does not depend on them, but certificates do."""
        assert self.welcome is not None
        ahead = self.welcome.clock - self._seen
        works = abs(ahead) < _CLOCK
        advice = "" if works else "certificates may seem to be expired, or not valid yet: does NTP run on both hosts?"
        yield Step("clock", works=True, found=f"{ahead:+.2f} s", advice=advice)

    async def trips(self) -> AsyncIterator[Step]:
        """Measure the round-trip time."""
        took = []
        opening = open_channel(self._address, self._credentials, at=self._at)
        async with asyncio.timeout(_TRIPS * PATIENCE), opening as channel:
            for _ in range(_TRIPS):
                begun = perf_counter()
                await greet(channel, Caller(self._credentials.token))
                took.append((perf_counter() - begun) * 1e3)
        yield Step("round trip", works=True, found=f"{statistics.median(took):.2f} ms, at most {max(took):.1f} ms")


def _advice(reason: str) -> str:
    if "token" in reason:
        return (
            "give both ends the same token: --token-file there, WOOLEXEC_TOKEN_FILE here; a proxy between them must "
            "not terminate TLS"
        )
    if "Python" in reason or "cloudpickle" in reason or "protocol" in reason:
        return "install the same minor version of Python, and of woolexec, at both ends"
    if DRAINING in reason:
        return "it is shutting down and accepts no new clients: start another"
    return "is it a woolexec peer? Its log on that host may say more"
