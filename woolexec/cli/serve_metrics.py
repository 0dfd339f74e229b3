"""``woolexec serve --metrics``: checks its requirements, and serves the metrics."""

from __future__ import annotations

import logging
from contextlib import nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

from woolexec import __version__

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from woolexec.mesh.server.peer import Peer
    from woolexec.observe.metrics_server import MetricsServer

Address = tuple[str, int]


def check(address: Address | None) -> None:
    """
    Check that metrics can be served.

    :raises ValueError: if the required package is missing
    """
    if address is not None and find_spec("prometheus_client") is None:
        raise ValueError("--metrics needs the package prometheus-client: pip install 'woolexec[metrics]'")


def metrics_of(peer: Peer, address: Address | None) -> AbstractContextManager[MetricsServer | None]:
    """
    Return a context manager that serves the metrics of a peer.

    :param address: where to listen; None: serve no metrics
    :raises OSError: if it cannot listen there
    """
    if address is None:
        return nullcontext()
    from woolexec.observe.metrics_server import MetricsServer
    from woolexec.observe.peer_source import PeerSource

    server = MetricsServer(address, PeerSource(peer).read, __version__)
    logging.getLogger("woolexec.peer").info("metrics at %s", server.url)
    return server
