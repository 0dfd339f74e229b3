"""``woolexec top --web ADDRESS``: a page about a peer, served by this process from the peer's answers over a link."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from time import time
from typing import TYPE_CHECKING, Any

from woolexec.errors import CredentialsError, PeerRefusedError
from woolexec.observe.page_data import page_data
from woolexec.observe.peer_page import together
from woolexec.printable import printable
from woolexec.statistics import Statistics

if TYPE_CHECKING:
    from collections.abc import Sequence

    from woolexec.cli.top_sources import PeerThere


class RemoteView:
    """
    The data of a page about a remote peer.

    :param thread: its one thread asks the peer, because callers here have their own event loops
    """

    def __init__(self, peer: PeerThere, thread: ThreadPoolExecutor) -> None:
        self._peer, self._thread = peer, thread
        self._started = time()
        self.ended = threading.Event()
        """Set when the peer has ended, or no longer answers."""

    def snapshot(self) -> dict[str, Any] | None:
        """Return a snapshot; None if the peer has ended, or no longer answers."""
        try:
            found = [(each.client, each.statistics) for each in self._thread.submit(self._peer.clients).result()]
        except (PeerRefusedError, CredentialsError):
            self.ended.set()
            return None
        about = found[0][1] if found else Statistics(time(), 0, printable(self._peer.address, 200))
        return page_data(together(found, Statistics(about.time, about.pid, about.host)), self._started)

    def stacks(self) -> list[dict[str, Any]]:
        """Return the running tasks, longest first."""
        return self._thread.submit(self._peer.stacks).result().as_dict()


def serve(peers: Sequence[PeerThere]) -> None:
    """
    Serve a page of each peer, print the URLs, and return when all peers have ended.

    :raises ImportError: if a package for it is missing
    """
    try:
        from woolexec.observe.dashboard import Dashboard
    except ModuleNotFoundError as exc:
        raise ImportError(f"--web needs the package {exc.name}: pip install 'woolexec[web]'") from exc
    with ExitStack() as stack:
        thread = stack.enter_context(ThreadPoolExecutor(1))
        views = [RemoteView(peer, thread) for peer in peers]
        for peer, view in zip(peers, views, strict=True):
            page = stack.enter_context(closing(Dashboard(("127.0.0.1", 0), view.snapshot, view.stacks)))
            print(f"peer at {printable(peer.address, 200)}: {page.url}", flush=True)
        for view in views:
            view.ended.wait()
