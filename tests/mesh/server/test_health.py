"""The answers to health probes; `tests/cli/test_serve.py` probes over the network."""

import asyncio

import pytest

from woolexec.mesh.server import health
from woolexec.mesh.server.health import Health

SERVING, NOT_SERVING = b"\x08\x01", b"\x08\x02"


class Aborted(Exception):
    """The call was refused."""


class Context:
    """A call whose refusal raises, as grpc's does."""

    async def abort(self, code, details):
        raise Aborted(code.name, details)


def test_check_tells_whether_work_can_be_sent_here():
    probed = Health()
    assert asyncio.run(probed._check(None, None)) == SERVING
    probed.serving = False
    assert asyncio.run(probed._check(None, None)) == NOT_SERVING


def test_watcher_is_told_the_status_at_once_and_then_each_change_once(monkeypatch):
    monkeypatch.setattr(health, "_LOOK", 0)

    async def watch():
        probed, told = Health(), []
        async for status in probed._watch(None, Context()):
            told.append(status)
            if len(told) == 3:
                break
            for _ in range(5):
                await asyncio.sleep(0)
            probed.serving = not probed.serving
        return told

    assert asyncio.run(asyncio.wait_for(watch(), 20)) == [SERVING, NOT_SERVING, SERVING]


def test_watcher_that_leaves_makes_room_for_another(monkeypatch):
    monkeypatch.setattr(health, "_WATCHERS", 2)

    async def watch():
        probed = Health()
        first, second, third = (probed._watch(None, Context()) for _ in range(3))
        assert [await anext(first), await anext(second)] == [SERVING, SERVING]
        with pytest.raises(Aborted, match=r"RESOURCE_EXHAUSTED.*too many watchers"):
            await anext(third)
        await first.aclose()
        fourth = probed._watch(None, Context())
        assert await anext(fourth) == SERVING
        for watching in (second, fourth):
            await watching.aclose()

    asyncio.run(watch())


def test_names_are_those_of_the_health_service():
    ((name, methods),) = Health().services().items()
    assert name == "grpc.health.v1.Health"
    assert set(methods) == {"Check", "Watch"}
    assert all(method.request_streaming for method in methods.values())
