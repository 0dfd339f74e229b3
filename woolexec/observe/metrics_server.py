"""
An HTTP server for metrics, which handles one request after the other in a separate thread.

A client may be slow, or send nothing.  So a request is handled only when its head has arrived, and other requests do
not wait for it.  At most `_WAITING` connections without a complete head are kept; beyond that, the oldest is closed.
"""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial
from io import BytesIO
from socketserver import TCPServer
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from woolexec.engine.selector import Selector
from woolexec.observe.prometheus import Exposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.observe.metric_table import Readings

_WAITING = 32
"""Maximum number of connections whose requests have not arrived."""

_HEAD = 16 << 10
"""Maximum size of the head of a request, in bytes."""

_LOOK = 0.2
"""Seconds between two checks whether the server is to end."""


class MetricsServer:
    """
    Serves the metrics within a ``with`` block.

    :param address: host and port; port 0: any free port
    :param readings: returns the metrics
    :param version: the version of woolexec
    :raises OSError: if it cannot listen on the address
    """

    def __init__(self, address: tuple[str, int], readings: Callable[[], Readings], version: str) -> None:
        registry = CollectorRegistry()
        registry.register(Exposition(readings, version))
        kind = _Server6 if ":" in address[0] else _Server
        self._server = kind(address)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.run, name="woolexec-metrics", daemon=True)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.is_open = False
        self._thread.join()
        self._server.server_close()


class _Server(WSGIServer):
    is_open = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int]) -> None:
        super().__init__(address, _Handler)
        self._selector = Selector()
        self._heads: dict[socket.socket, bytes] = {}  # incomplete request heads, the oldest first

    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # the method of HTTPServer looks up the host name, which may take long
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def run(self) -> None:
        """Answer requests until `is_open` is false."""
        self.socket.setblocking(False)
        self._selector.add(self.socket.fileno(), self._accept)
        while self.is_open:
            for act in self._selector.wait(_LOOK):
                act()
        for sock in self._heads:
            sock.close()
        self._selector.close()

    def _accept(self) -> None:
        try:
            sock, _ = self.socket.accept()
        except BlockingIOError:  # the client has left
            return
        except OSError:  # no descriptor is left
            time.sleep(_LOOK)
            return
        sock.setblocking(False)
        self._heads[sock] = b""
        self._selector.add(sock.fileno(), partial(self._read, sock))
        if len(self._heads) > _WAITING:
            oldest = next(iter(self._heads))
            self._leave(oldest)
            oldest.close()

    def _leave(self, sock: socket.socket) -> bytes:
        self._selector.remove(sock.fileno())
        return self._heads.pop(sock)

    def _read(self, sock: socket.socket) -> None:
        """Read the part of a request that has arrived, and answer the request if its head is complete."""
        if sock not in self._heads:  # it was closed just now
            return
        try:
            part = sock.recv(_HEAD)
        except OSError:
            part = b""
        self._heads[sock] += part
        head = self._heads[sock]
        if not part or b"\n\r\n" in head or b"\n\n" in head or len(head) > _HEAD:
            self._answer(sock, self._leave(sock))

    def _answer(self, sock: socket.socket, head: bytes) -> None:
        """Answer a request, and close its connection."""
        with contextlib.suppress(Exception):  # the client has left, or has sent an invalid request
            _Handler(sock, head, self)
        self.shutdown_request(sock)


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 2  # seconds that a client may take to read the answer

    def __init__(self, sock: socket.socket, head: bytes, server: _Server) -> None:
        self._head = head
        super().__init__(sock, ("", 0), server)

    def setup(self) -> None:
        """Read from the head that has arrived, and nothing else."""
        super().setup()
        self.rfile = BytesIO(self._head)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
        """Log nothing, because metrics are scraped every few seconds."""
