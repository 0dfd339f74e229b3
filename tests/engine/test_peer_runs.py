import time
from types import SimpleNamespace

import pytest

from tests.mesh.conftest import CREDENTIALS, joined
from woolexec import current_executor
from woolexec.engine import peer_runs
from woolexec.engine.peer_runs import PeerRuns, report_runs
from woolexec.engine.recorder import LOST, RETURNED
from woolexec.mesh.server.peer import Peer
from woolexec.wire.trace_frames import Clock, Ran


def submits(count):
    return sum(future.result() for future in [current_executor().submit(abs, -1) for _ in range(count)])


def die():
    import os

    os._exit(7)


def pid_of():
    import os

    return os.getpid()


def test_calls_at_a_peer_are_in_the_lanes_of_its_workers():
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        runs = []
        stop = report_runs(pool._engine, runs.append)
        before = time.monotonic()
        pids = {future.result() for future in [pool.submit(pid_of) for _ in range(50)]}
        assert pool.submit(submits, 2).result() == 2
        list(pool.map(abs, range(100)))
        assert pool.submit(die).exception() is not None
        errors = stop()
        after = time.monotonic()
        address = peer.address
        pool.submit(abs, 1).result()
    assert {run.where.pid for run in runs if run.name == "pid_of"} == pids
    assert {run.where.host for run in runs} == {address}
    assert {run.outcome for run in runs if run.name != "die"} == {RETURNED}
    assert [run.outcome for run in runs if run.name == "die"] == [LOST]
    (parent,) = (run for run in runs if run.name == "submits")
    children = [run for run in runs if run.parent is not None]
    assert [child.parent for child in children] == [parent.where] * 2
    assert sum(run.count or 1 for run in runs) == 50 + 3 + 100 + 1
    error = errors[address]
    assert 0 < error < after - before
    for run in runs:
        assert before - error <= run.submitted <= run.sent <= run.began + error
        assert run.began <= run.ended <= after + error


class FakeLink:
    def __init__(self):
        self.candidate = self
        self.address = "peer:1"
        self.sent = []

    def send(self, frames):
        self.sent.append(frames)


class FakeRecorder:
    def __init__(self):
        self.reporting, self.ran = set(), []

    def ran_at_peer(self, link, *run):
        self.ran.append(run)


def test_times_are_mapped_by_the_best_answer_that_is_not_old(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(peer_runs, "monotonic", lambda: now)
    recorder, runs, link = FakeRecorder(), [], FakeLink()
    peers = PeerRuns(None, recorder, runs.append)
    peers.hear(link, Ran(call=1, began=1.0, ended=2.0))  # no clock has been heard of
    assert recorder.ran == []
    peers.hear(link, Clock(asked=999.8, now=49.9))  # ahead by -950.0, within 0.1 s
    peers.hear(link, Clock(asked=999.0, now=49.0))  # took longer: says less
    peers.hear(link, Ran(call=1, pid=7, began=49.0, ended=49.5))
    assert peers.errors() == {"peer:1": pytest.approx(0.1)}
    ((number, where, began, ended),) = recorder.ran
    assert (number, where.pid, where.host, began, ended) == (1, 7, "peer:1", pytest.approx(999.0), pytest.approx(999.5))
    now = 11_000.0  # a day later clocks may have drifted by more than an answer takes
    peers.hear(link, Clock(asked=10_999.0, now=10_050.5))
    peers.hear(link, Ran(call=2, pid=7, began=10_050.5, ended=10_050.5))
    assert recorder.ran[-1][2:] == (10_999.5, 10_999.5)


def test_texts_of_a_peer_are_made_printable_and_cut():
    recorder, runs, link = FakeRecorder(), [], FakeLink()
    peers = PeerRuns(None, recorder, runs.append)
    peers.hear(link, Clock(asked=1.0, now=1.0))
    peers.hear(link, Ran(name="\x1b[2Jname\n" + "x" * 10_000, outcome="\n", host="\r", pid=1))
    (run,) = runs
    for text in (run.name, run.outcome, run.where.host):
        assert text.isprintable()
        assert len(text) < 400


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf"), 1e300])
@pytest.mark.parametrize("field", ["asked", "now", "submitted", "sent", "began", "ended"])
def test_time_that_no_clock_shows_is_passed_over(field, value):
    recorder, runs, link = FakeRecorder(), [], FakeLink()
    peers = PeerRuns(None, recorder, runs.append)
    if field in ("asked", "now"):
        peers.hear(link, Clock(**{"asked": 1.0, "now": 1.0, field: value}))
        assert peers.errors() == {}
        return
    peers.hear(link, Clock(asked=1.0, now=1.0))
    for call in (0, 1):
        peers.hear(link, Ran(call=call, **{field: value}))
    assert (recorder.ran, runs) == ([], [])


def test_error_of_a_clock_is_not_negative_whatever_the_peer_says(monkeypatch):
    monkeypatch.setattr(peer_runs, "monotonic", lambda: 1000.0)
    peers = PeerRuns(None, FakeRecorder(), None)
    peers.hear(FakeLink(), Clock(asked=2000.0, now=1.0))
    assert peers.errors() == {"peer:1": 0.0}


def test_reports_end_for_all_peers():
    links = [FakeLink(), FakeLink()]
    outcomes, dispatcher = SimpleNamespace(on_report="of these"), SimpleNamespace(due=set())
    rounds = SimpleNamespace(outcomes=outcomes, dispatcher=dispatcher, scheduler=SimpleNamespace(links=links))
    PeerRuns(rounds, FakeRecorder(), None).stop()
    assert outcomes.on_report is None
    assert [len(link.sent) for link in links] == [1, 1]
    assert dispatcher.due == set(links)
