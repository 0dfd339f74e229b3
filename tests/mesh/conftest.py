import contextlib
import resource
import socket

import pytest

from tests.mesh.tasks import PATIENCE, eventually
from tests.tokens import token_for
from woolexec import Credentials, PeerPoolExecutor
from woolexec.mesh.grpc_module import load_grpc
from woolexec.mesh.link import fd_passing
from woolexec.mesh.server.peer import Peer

load_grpc()  # as pools do; before a test module imports grpc, because tests fork

__all__ = ["CREDENTIALS", "PATIENCE", "apart", "eventually", "few_descriptors", "free_port", "joined", "peer", "pool"]

CREDENTIALS = Credentials(token_for("these tests"))


def joined(*peers, local=0, timeout=1.0):
    """Return a pool that places its calls on peers, and on `local` workers."""
    addresses = [peer if isinstance(peer, str) else peer.address for peer in peers]
    pool = PeerPoolExecutor(local, peers=addresses, credentials=CREDENTIALS, peers_timeout=timeout)
    try:
        pool.wait_for_peers(len(addresses), PATIENCE)
    except BaseException:
        pool.shutdown(cancel_futures=True)
        raise
    return pool


def free_port():
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]


@contextlib.contextmanager
def few_descriptors(limit):
    """Limit the descriptor numbers of this process, and of those that it starts, to less than `limit`."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limits)


@pytest.fixture
def apart(monkeypatch):
    """Make clients treat peers as being on other hosts, so that large payloads travel in parts."""
    monkeypatch.setattr(fd_passing, "boot_id", str)


@pytest.fixture
def peer():
    with Peer(2, credentials=CREDENTIALS) as peer:
        yield peer


@pytest.fixture
def pool(peer):
    with joined(peer) as pool:
        yield pool
