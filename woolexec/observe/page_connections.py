"""
The connections to a page, as they come.

Any program that can connect may send no request, half of one, or requests without the token.  Connections that have not
shown the token are few: the oldest one makes room for the next, so that they neither take the descriptors of the
program nor keep others out.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import asyncio

MOST = 32
"""Maximum number of connections that have not shown the token."""

BACKLOG = 128
"""Maximum number of connections that wait to be accepted."""

_OUT_OF_DESCRIPTORS = "socket.accept() out of system resource"

_log = logging.getLogger("woolexec.page")
_log.setLevel(logging.ERROR)  # strangers cause warnings


class Strangers:
    """The connections to one page that have not shown its token; only in the page's thread."""

    def __init__(self) -> None:
        self._open: dict[Any, None] = {}  # the oldest first

    def add(self, connection: Any) -> None:
        """Note a new one; the oldest one makes room for it."""
        self._open[connection] = None
        if len(self._open) > MOST:
            oldest = next(iter(self._open))
            del self._open[oldest]
            oldest.transport.abort()

    def remove(self, connection: Any) -> None:
        """Note that one has ended."""
        self._open.pop(connection, None)

    def know(self, client: Any) -> None:
        """Note that the client with this address has shown the token."""
        for connection in list(self._open):
            if connection.client == client:
                self.remove(connection)

    def protocol(self, base: type[Any]) -> type[Any]:
        """
        Return the protocol of connections that are noted here.

        :param base: uvicorn's
        """
        strangers = self

        class Connection(base):  # type: ignore[misc]  # it is known at run time only
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
    """Log what is wrong in the event loop of a page; not that no descriptor is left, which the program notices."""
    if context.get("message") != _OUT_OF_DESCRIPTORS:
        loop.default_exception_handler(context)
