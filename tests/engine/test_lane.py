from time import monotonic

from tests.core.parts import Page, Worker
from woolexec.core.call import ASYNCIO, Call, Function
from woolexec.engine.lane import WorkerLane


def test_call_on_a_lane_has_the_time_at_which_it_was_sent_and_counts_as_one_of_the_workers():
    worker = Worker()
    worker.remaining = 3
    lane = WorkerLane(worker, 10)
    lane.page = Page()
    call = Call(Function(b"", "fn", ASYNCIO), b"", None)
    before = monotonic()

    lane.sent(call, 7, 0.0, 0)

    assert before <= call.cost <= monotonic()
    assert (lane.outstanding, worker.remaining) == ({7: call}, 2)
