"""What a peer reports while no worker can be started; `tests/mesh/test_supervision.py` uses real peers."""

import asyncio
from types import SimpleNamespace

import pytest

from woolexec.core.circuit_breaker import CircuitBreaker
from woolexec.mesh.server import supervision
from woolexec.mesh.server.supervision import Supervision


class World:
    """A host whose clock is the test's, and what is said."""

    def __init__(self, monkeypatch, give_up_after=300.0):
        self.now, self.said, self.probes, self.works_at = 100.0, [], [], 1e9
        self.forks = SimpleNamespace(breaker=CircuitBreaker(lambda: self.now), on_failure=None)
        monkeypatch.setattr(supervision, "Probe", self.probe)
        monkeypatch.setattr(supervision.asyncio, "sleep", self.sleep)
        self.supervision = Supervision(
            SimpleNamespace(forks=self.forks, loop=None),
            give_up_after,
            say=self.said.append,
            give_up=lambda reason: self.said.append(f"gave up: {reason}"),
            invite=lambda: self.said.append("come"),
        )

    def probe(self, forks, loop):
        self.probes.append(self.now)
        if self.now >= self.works_at:
            forks.breaker.worked()
        else:
            self.fail()

    async def sleep(self, seconds):
        self.now += seconds

    def fail(self, **how):
        self.forks.breaker.failed("fork", "no memory", **how)
        self.forks.on_failure()

    async def run(self, until):
        task = asyncio.ensure_future(self.supervision.run())
        loop = asyncio.get_running_loop()
        for _ in range(10_000):
            if until():
                break
            await asyncio.wait({loop.create_task(turn())})
        task.cancel()


async def turn():
    """Let others take a turn."""


def test_peer_says_that_it_serves_again_when_a_try_has_worked(monkeypatch):
    world = World(monkeypatch)
    world.works_at = 103.0

    async def main():
        world.fail(for_good=True)
        await world.run(lambda: "come" in world.said)

    asyncio.run(main())
    assert world.said == ["no memory", "", "come"]
    assert len(world.probes) < 10


def test_failure_that_is_over_lets_clients_come_again_and_is_not_told(monkeypatch):
    world = World(monkeypatch)

    async def main():
        world.fail(for_good=True)
        world.forks.breaker.worked()
        await world.run(lambda: world.said)

    asyncio.run(main())
    assert world.said == ["come"]


@pytest.mark.parametrize("after", [0.0, 20.0])
def test_peer_gives_up_after_its_time(monkeypatch, after):
    world = World(monkeypatch, after)

    async def main():
        world.fail(for_good=True)
        await world.run(lambda: len(world.said) == 2)

    asyncio.run(main())
    assert world.said == ["no memory", "gave up: no memory"]
    assert world.now == pytest.approx(100.0 + after, abs=0.1)
