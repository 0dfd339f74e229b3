"""An HTTP server that shows metrics, one request after the other, in a thread of its own."""

from __future__ import annotations

import socket
import threading
from socketserver import TCPServer
from typing import TYPE_CHECKING, Self
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer

from prometheus_client import CollectorRegistry, make_wsgi_app

from woolexec.observe.prometheus import Exposition

if TYPE_CHECKING:
    from collections.abc import Callable

    from woolexec.observe.metric_table import Readings


class MetricsServer:
    """
    Serves the metrics until it is left; use it in a ``with``.

    :param address: host and port; port 0: any free port
    :param readings: returns what the metrics are
    :param version: that of woolexec
    :raises OSError: if it cannot listen there
    """

    def __init__(self, address: tuple[str, int], readings: Callable[[], Readings], version: str) -> None:
        registry = CollectorRegistry()
        registry.register(Exposition(readings, version))
        kind = _Server6 if ":" in address[0] else _Server
        self._server = kind(address, _Handler)
        self._server.set_app(make_wsgi_app(registry))
        self._thread = threading.Thread(target=self._server.serve_forever, name="woolexec-metrics", daemon=True)
        host = f"[{address[0]}]" if ":" in address[0] else address[0]
        self.url = f"http://{host}:{self._server.server_port}/metrics"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exc_info: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class _Server(WSGIServer):
    def server_bind(self) -> None:
        TCPServer.server_bind(self)  # that of HTTPServer asks the name service, which may take long
        self.server_name, self.server_port = str(self.server_address[0]), self.server_address[1]
        self.setup_environ()

    def handle_error(self, request: object, client_address: object) -> None:
        """Do nothing: a client has left, or sends what is no request."""


class _Server6(_Server):
    address_family = socket.AF_INET6


class _Handler(WSGIRequestHandler):
    timeout = 2  # seconds that a client may be silent

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the standard library
        """Log nothing: it is scraped every few seconds."""
