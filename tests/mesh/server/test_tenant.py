"""The resources of clients at a peer, and when they are released."""

import asyncio
from types import SimpleNamespace

from woolexec.mesh.server import tenant as tenant_module
from woolexec.mesh.server.tenant import Tenants
from woolexec.wire.wire_pb2 import Hello


class Engine:
    """The engine of one client."""

    def __init__(self):
        self.ended = asyncio.Event()  # set when it is to end

    @property
    def has_ended(self):
        return self.ended.is_set()

    def retire(self, when_ended):
        self.ended.set()
        when_ended()

    def on_first_nested(self, act):
        self.first_nested = act

    def wake(self):
        pass


class Host:
    """Makes engines."""

    def __init__(self):
        self.made = []

    def engine(self, settings):
        self.made.append(Engine())
        return self.made[-1]

    def wake(self):
        pass


class Links:
    """Tasks that stand for links."""

    def __init__(self, tenants):
        self.tenants = tenants

    def open(self, session=b"ada", hops=0, name="ada"):
        task = asyncio.get_running_loop().create_task(asyncio.sleep(60))
        link = SimpleNamespace(task=task, session=session)
        link.tenant = self.tenants.enter(Hello(session=session, hops=hops), name, task)
        return link

    def close(self, link):
        link.task.cancel()
        self.tenants.leave(link.session, link.tenant, link.task)


def run(test, monkeypatch, make_peers=None, linger=0.02):
    monkeypatch.setattr(tenant_module, "LINGER", linger)

    async def main():
        host = Host()
        await test(Links(Tenants(host, make_peers)), host)

    asyncio.run(main())


def test_links_of_one_session_are_one_client(monkeypatch):
    async def test(links, host):
        one, again, other = links.open(), links.open(hops=1), links.open(b"bob")
        assert one.tenant is again.tenant is not other.tenant
        assert len(host.made) == 2
        assert one.tenant.code_store.folder != other.tenant.code_store.folder

    run(test, monkeypatch)


def test_links_without_a_session_are_each_a_client(monkeypatch):
    async def test(links, host):
        one, other = links.open(b""), links.open(b"")
        assert one.tenant is not other.tenant
        links.close(one)
        assert one.tenant.engine.has_ended
        assert not other.tenant.engine.has_ended

    run(test, monkeypatch)


def test_client_that_comes_back_soon_finds_what_it_had(monkeypatch):
    async def test(links, host):
        one = links.open()
        links.close(one)
        assert links.open().tenant is one.tenant
        await asyncio.sleep(0.1)
        assert not one.tenant.engine.has_ended

    run(test, monkeypatch)


def test_client_that_does_not_come_back_has_nothing_any_more(monkeypatch):
    async def test(links, host):
        one = links.open()
        links.close(one)
        await asyncio.wait_for(one.tenant.engine.ended.wait(), 20)
        assert links.open().tenant is not one.tenant

    run(test, monkeypatch)


def test_link_with_more_hops_keeps_nothing_and_ends_with_the_client(monkeypatch):
    async def test(links, host):
        own, circle = links.open(), links.open(hops=2)
        links.close(own)
        await asyncio.wait_for(own.tenant.engine.ended.wait(), 20)
        await asyncio.sleep(0)
        assert circle.task.cancelled()
        links.close(circle)  # nothing happens twice
        assert list(links.tenants) == []

    run(test, monkeypatch)


def test_link_with_fewer_hops_counts_from_then_on(monkeypatch):
    async def test(links, host):
        passed_on, own = links.open(hops=1), links.open()
        links.close(own)
        await asyncio.wait_for(own.tenant.engine.ended.wait(), 20)
        await asyncio.sleep(0)
        assert passed_on.task.cancelled()

    run(test, monkeypatch)


def test_nothing_is_kept_for_clients_of_a_peer_that_closes(monkeypatch):
    async def test(links, host):
        lingering, open_ = links.open(b"ada"), links.open(b"bob")
        links.close(lingering)
        links.tenants.close()
        assert lingering.tenant.engine.has_ended
        assert not open_.tenant.engine.has_ended
        links.close(open_)
        assert open_.tenant.engine.has_ended

    run(test, monkeypatch, linger=60)


def test_other_peers_are_looked_for_when_a_task_submits_a_task(monkeypatch):
    made = []

    def make_peers(tenant, session, name):
        made.append((tenant, session, name))
        return lambda engine, wake: asyncio.sleep(60)

    async def test(links, host):
        link = links.open(name="ada at one")
        assert made == []
        link.tenant.engine.first_nested()
        assert made == [(link.tenant, b"ada", "ada at one")]

    run(test, monkeypatch, make_peers)
