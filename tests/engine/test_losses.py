from types import SimpleNamespace

import pytest

from woolexec.engine.losses import Losses


def worker(**about):
    facts = {
        "pid": 7,
        "done": 3,
        "actor": None,
        "born": 0.0,
        "ended_for": None,
        "stopping": False,
        "exitcode": None,
        "excess": "",
    }
    return SimpleNamespace(**(facts | {"oom_kills": 1 << 60} | about))


@pytest.mark.parametrize(
    ("about", "reason", "why"),
    [
        ({"exitcode": -9}, "SIGKILL", "was killed by SIGKILL"),
        ({"exitcode": -9, "oom_kills": -1}, "memory", "was killed by SIGKILL, by the kernel's out-of-memory killer"),
        ({"exitcode": -9, "excess": "too much"}, "memory", "was ended by the pool: too much"),
        ({"exitcode": 3}, "exit", "exited with code 3"),
        ({"exitcode": None}, "exit", "was lost"),
        ({"exitcode": -15, "ended_for": "task", "stopping": True}, "ended", "was ended to stop task"),
    ],
)
def test_reason_is_told(about, reason, why):
    losses = Losses()
    losses.note(worker(**about))
    assert losses.reasons == {reason: 1}
    [lost] = losses.last
    assert (lost.why, lost.pid, lost.done) == (why, 7, 3)


def test_worker_that_was_to_end_is_not_lost():
    losses = Losses()
    losses.note(worker(exitcode=0, stopping=True))
    assert not losses.reasons
    assert not losses.last


def test_last_ones_are_described_and_all_are_counted():
    losses = Losses()
    for number in range(100):
        losses.note(worker(exitcode=1, pid=number + 1))
    assert losses.reasons == {"exit": 100}
    assert [lost.pid for lost in losses.last] == list(range(81, 101))
