"""
Limit the connections to a page that have not sent its token.

A client may send no request, part of one, or requests without the token.  The number of connections that have not sent
the token is limited: the oldest is closed when a new one needs its place.  So they can neither use up the descriptors
of the program nor keep other clients out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

MOST = 32
"""Maximum number of connections that have not sent the token."""

BACKLOG = 128
"""Maximum number of connections that wait to be accepted."""

_OUT_OF_DESCRIPTORS = "socket.accept() out of system resource"

_log = logging.getLogger("woolexec.page")
_log.setLevel(logging.ERROR)  # clients without the token cause warnings


class Strangers:
    """The connections to one page that have not sent its token; used only in the page's thread."""

    def __init__(self) -> None:
        self._open: dict[Any, None] = {}  # the oldest first

    def add(self, connection: Any) -> None:
        """Add a new connection; close the oldest if there are too many."""
        self._open[connection] = None
        if len(self._open) > MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()

    def remove(self, connection: Any) -> None:
        """Remove a connection that has ended."""
        self._open.pop(connection, None)

    def know(self, client: Any) -> None:
        """Remove the connections from this client address, which has sent the token."""
        for connection in list(self._open):
            if connection.client == client:
                self.remove(connection)

    def protocol(self, base: type[Any]) -> type[Any]:
        """
        Return a protocol class whose connections are added here.

        :param base: uvicorn's protocol class
        """
        strangers = self

        class Connection(base):  # type: ignore[misc]  # the base is known only at run time
            def __init__(self, *args: Any, **options: Any) -> None:
                super().__init__(*args, **options)
                self.logger = _log

            def connection_made(self, transport: asyncio.Transport) -> None:
                super().connection_made(transport)
                strangers.add(self)

            def connection_lost(self, exc: Exception | None) -> None:
                strangers.remove(self)
                super().connection_lost(exc)

        return Connection


def complain(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log errors in the event loop of a page, but not that no descriptor is left, which the program notices itself."""
    if context.get("message") != _OUT_OF_DESCRIPTORS:
        loop.default_exception_handler(context)
