"""One peer on each node of a cluster, whose nodes here are entries of a dictionary."""

import asyncio
import contextlib
import os

import pytest

from woolexec import PeerPoolExecutor
from woolexec.errors import DiscoveryError
from woolexec.launchers import nodes
from woolexec.launchers.nodes import Node, Nodes
from woolexec.mesh.server.child import ChildPeer

PATIENCE = 30.0


class Here(Nodes):
    """Nodes that are all this machine."""

    def __init__(self, *there, workers=None):
        super().__init__(workers)
        self.there = {node.key: node for node in there}
        self.children, self.started, self.fault = {}, [], None
        self.silent = 0  # how many looks are to fail

    def __str__(self):
        return "here"

    @contextlib.asynccontextmanager
    async def opened(self):
        yield

    async def nodes(self):
        if self.silent:
            self.silent -= 1
            raise TimeoutError
        return list(self.there.values())

    async def start_on(self, node, token, workers):
        self.started.append((node.key, workers))
        if self.fault:
            raise DiscoveryError(self.fault)
        child = self.children[node.key] = ChildPeer(token, workers, resources=node.resources)
        return await asyncio.to_thread(child.addresses)

    async def has_ended(self, node):
        return self.children[node.key].has_ended

    async def stop_on(self, node):
        if node.key in self.children:
            await asyncio.to_thread(self.children.pop(node.key).end)


def test_each_node_has_a_peer_with_its_share_and_all_end_with_the_executor():
    here = Here(Node("a", 2, 0), Node("b", 1, 2))
    with PeerPoolExecutor(peers=here) as pool:
        assert pool.wait_for_peers(2, timeout=PATIENCE) == 2
        assert sorted(here.started) == [("a", 2), ("b", 1)]
        view = pool.with_options(require={"gpu": 2})
        assert view.submit(abs, -1).result(PATIENCE) == 1
        children = list(here.children.values())
    assert here.children == {}
    assert all(child.has_ended for child in children)


def test_number_of_workers_can_be_given():
    here = Here(Node("a", 8, 0), workers=1)
    with PeerPoolExecutor(peers=here) as pool:
        assert pool.wait_for_peers(1, timeout=PATIENCE) == 1
    assert here.started == [("a", 1)]
    with pytest.raises(ValueError, match="workers"):
        Here(workers=0)


def test_peer_that_has_ended_is_started_again():
    here = Here(Node("a", 1, 0))
    with PeerPoolExecutor(peers=here) as pool:
        assert pool.submit(abs, -1).result(PATIENCE) == 1
        here.children["a"].end()
        assert pool.with_options(retries=9).submit(abs, -1).result(PATIENCE) == 1
    assert len(here.started) == 2


def test_node_that_leaves_takes_its_peer_with_it_and_one_that_comes_has_one():
    here = Here(Node("a", 1, 0))
    with PeerPoolExecutor(peers=here) as pool:
        first = pool.submit(os.getpid).result(PATIENCE)
        here.there = {"b": Node("b", 1, 0)}
        view = pool.with_options(retries=9)
        while view.submit(os.getpid).result(PATIENCE) == first or "a" in here.children:
            pass  # until the time limit of tests, if it stays


def test_peers_go_on_while_the_cluster_does_not_answer():
    here = Here(Node("a", 1, 0))
    with PeerPoolExecutor(peers=here) as pool:
        first = pool.submit(os.getpid).result(PATIENCE)
        here.silent = 2
        while here.silent:
            pool.submit(abs, -1).result(PATIENCE)
        assert pool.submit(os.getpid).result(PATIENCE) == first
    assert here.started == [("a", 1)]


def test_cluster_that_does_not_answer_at_first_is_named():
    here = Here(Node("a", 1, 0))
    here.silent = 1000
    with PeerPoolExecutor(peers=here, peers_timeout=0.5) as pool:
        assert "here: no answer" in str(pool.submit(abs, -1).exception(PATIENCE))


def test_cluster_that_does_not_answer_for_long_is_given_up_and_asked_again(monkeypatch):
    monkeypatch.setattr(nodes, "_SILENCE", 0.0)
    here = Here(Node("a", 1, 0))
    with PeerPoolExecutor(peers=here) as pool:
        first = pool.submit(os.getpid).result(PATIENCE)
        here.silent = 1
        view = pool.with_options(retries=9)
        while len(here.started) < 2:
            view.submit(abs, -1).result(PATIENCE)
        assert view.submit(os.getpid).result(PATIENCE) != first


def test_node_on_which_no_peer_starts_is_named():
    here = Here(Node("a", 1, 0))
    here.fault = "no room"
    with PeerPoolExecutor(peers=here, peers_timeout=0.5) as pool:
        assert "no room" in str(pool.submit(abs, -1).exception(PATIENCE))
