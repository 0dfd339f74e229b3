"""``woolexec serve --dashboard``: checks its requirements, and serves the page."""

from __future__ import annotations

import logging
from contextlib import closing, nullcontext
from importlib.util import find_spec
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from woolexec.mesh.server.peer import Peer
    from woolexec.observe.dashboard import Dashboard

Address = tuple[str, int]


def check(address: Address | None) -> None:
    """
    Check that a page can be served.

    :raises ValueError: if a required package is missing
    """
    if address is None:
        return
    for name in ("starlette", "uvicorn"):
        if find_spec(name) is None:
            raise ValueError(f"--dashboard needs the package {name}: pip install 'woolexec[web]'")


def page_of(peer: Peer, address: Address | None) -> AbstractContextManager[Dashboard | None]:
    """
    Return a context manager that serves the page of a peer.

    :param address: where to listen; None: serve no page
    :raises OSError: if it cannot listen there
    """
    if address is None:
        return nullcontext()
    from woolexec.observe.peer_page import open_page

    page = open_page(address, peer)
    logging.getLogger("woolexec.peer").info(
        "a page of this peer at %s; woolexec top --web prints its URL, with the token", page.url.partition("?")[0]
    )
    return closing(page)
