from tests.mesh.conftest import CREDENTIALS, joined
from woolexec.mesh.server.call_reports import report_calls
from woolexec.mesh.server.peer import Peer
from woolexec.wire.trace_frames import Clock, Trace


class FakeLinks:
    sink = None

    @property
    def reports_runs(self):
        return self.sink is not None

    def report_runs(self, sink):
        self.sink = sink


def test_each_question_is_answered_with_the_time_and_reports_begin_once():
    links, told = FakeLinks(), []
    report_calls(links, told.append, Trace(on=True, asked=7.0))
    first = links.sink
    report_calls(links, told.append, Trace(on=True, asked=8.0))
    assert links.sink is first
    report_calls(links, told.append, Trace(asked=9.0))
    assert links.sink is None
    assert [(type(frame), frame.asked) for frame in told] == [(Clock, 7.0), (Clock, 8.0), (Clock, 9.0)]
    assert told[0].now <= told[1].now <= told[2].now


def test_a_client_hears_of_its_own_calls_and_of_no_others(tmp_path):
    with Peer(2, credentials=CREDENTIALS) as peer, joined(peer) as ours, joined(peer) as other:
        with ours.trace(tmp_path / "run.json"):
            assert other.submit(len, "four").result() == 4
            assert ours.submit(abs, -1).result() == 1
    text = (tmp_path / "run.json").read_text()
    assert '"abs"' in text
    assert '"len"' not in text
