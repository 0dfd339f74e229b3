"""An idle worker."""

import errno

import pytest

from woolexec.engine.probe import PATIENCE, Probe
from woolexec.platform.posix import SIGKILL
from woolexec.wire.frames import Stop
from woolexec.worker.records import EXITED, FAILED, FORKED


@pytest.fixture
def forks(engine):
    return engine.rounds.forks


def fail(forks):
    forks.breaker.failed("fork", "it failed", for_good=True)


def test_probe_that_is_forked_closes_the_breaker_and_ends(engine, forks):
    fail(forks)
    probe = Probe(forks, engine.loop)
    (far,) = engine.fork_server.far_ends.values()
    assert [frame.__class__ for frame in far.frames()] == [Stop]
    engine.report((FORKED, probe._worker.id, 4711))
    assert not forks.breaker.is_open
    engine.report((EXITED, probe._worker.id, 0))
    assert probe._worker.is_closed


def test_probe_that_fails_leaves_the_breaker_open(engine, forks):
    fail(forks)
    probe = Probe(forks, engine.loop)
    engine.report((FAILED, probe._worker.id, errno.EAGAIN))
    assert forks.breaker.is_open
    assert probe._worker.is_closed


def test_probe_without_a_fork_server_leaves_the_breaker_open(engine, forks):
    engine.submit(engine.call())
    engine.fork_server.error = OSError(errno.ENOMEM, "no memory")
    fail(forks)
    Probe(forks, engine.loop)
    assert (forks.breaker.is_open, forks.breaker.reason) == (True, "[Errno 12] no memory")


def test_probe_that_does_not_end_is_killed(engine, forks):
    probe = Probe(forks, engine.loop)
    engine.loop.pass_time(PATIENCE)
    assert engine.killed == [(probe._worker.id, SIGKILL)]
    engine.report((EXITED, probe._worker.id, -SIGKILL))
