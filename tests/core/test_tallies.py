import threading

import pytest

from woolexec.core.call import ASYNCIO, Call, Chunk, Function
from woolexec.core.tallies import EVERY, LONG, OTHERS, Tallies

LOST = ("woolexec.errors:WorkerLostError", "woolexec.errors:WoolexecError")


def call_of(name="work", count=0, chunk=None):
    return Call(Function(b"", name), b"arguments", None, count=count, chunk=chunk)


def end(tallies, call, number, seconds=1e-5, size=100):
    """What the engine does when calls of a function return."""
    call.cost = seconds
    for _ in range(number):
        if call.function.recent is None:
            tallies.ended(call, seconds, size)
        else:
            tallies.returned(call, size)


def test_count_and_run_time_are_exact_whatever_is_measured():
    tallies, call = Tallies(lambda: 0.0), call_of()
    for number in range(1, 1000):
        end(tallies, call, 1)
        tally = tallies.functions()["work"]
        assert tally.count == number
        assert tally.total == pytest.approx(number * 1e-5)


def test_first_calls_are_measured_and_then_one_of_many():
    call = call_of()
    tallies = Tallies(lambda: call.since + 0.5)
    end(tallies, call, 200)
    tally = tallies.functions()["work"]
    assert tally.runs.count == 200
    end(tallies, call, 16_000)
    assert tally.count == 16_200
    assert tally.count - EVERY < tally.runs.count <= tally.count
    assert len(tally.recent) < EVERY
    assert tally.waits.quantile(0.5) == pytest.approx(0.5, rel=0.05)
    assert tally.bytes_in == len(call.payload) * tally.runs.count
    assert tally.bytes_out == 100 * tally.runs.count


def test_long_calls_are_measured_and_stand_for_themselves():
    tallies, call = Tallies(lambda: 0.0), call_of()
    end(tallies, call, 3000)
    for _ in range(20):
        end(tallies, call, 3)
        end(tallies, call, 1, seconds=2.0)
    tally = tallies.functions()["work"]
    assert tally.count == 3080
    assert sum(count for bound, count in tally.runs.bins() if bound > 1) == 20
    assert tally.runs.max == 2.0
    assert tally.total == pytest.approx(40 + 3060 * 1e-5)


def test_calls_of_lanes_are_all_measured():
    tallies, call = Tallies(lambda: 0.0), Call(Function(b"", "work", ASYNCIO), b"", None)
    end(tallies, call, 1000)
    assert tallies.functions()["work"].runs.count == 1000


def test_items_of_a_map_count_as_calls():
    tallies = Tallies(lambda: 1e9)
    chunk = Chunk(Function(b"", "square"), b"x" * 100, 10, None)
    call = chunk.cut(4)
    tallies.ended(call, 8.0, 70, 1)
    tally = tallies.functions()["square"]
    assert (tally.count, tally.failures, tally.total) == (4, 1, 8.0)
    assert (tally.runs.count, tally.runs.max) == (4, 2.0)
    assert (tally.bytes_in, tally.bytes_out) == (40, 70)


def test_wait_is_what_is_not_run_time():
    call = call_of()
    tallies = Tallies(lambda: call.since + 5.0)
    tallies.ended(call, 2.0, 1)
    assert tallies.functions()["work"].waits.max == 3.0


def test_functions_of_one_name_have_one_tally():
    tallies = Tallies(lambda: 0.0)
    for _ in range(3):
        tallies.ended(call_of(), 1.0, 1)
    assert tallies.functions()["work"].count == 3


def test_loss_retry_and_timeout_are_told_apart():
    tallies = Tallies(lambda: 0.0)
    tallies.unfinished(call_of(), LOST)
    tallies.unfinished(call_of(), LOST, is_retried=True)
    tallies.unfinished(call_of(), ("builtins:TimeoutError",))
    tally = tallies.functions()["work"]
    assert (tally.lost, tally.retries, tally.failures) == (1, 1, 1)


def test_calls_are_cancelled_in_any_thread():
    tallies = Tallies(lambda: 0.0)

    def cancel():
        for _ in range(1000):
            tallies.cancelled(call_of())

    threads = [threading.Thread(target=cancel) for _ in range(4)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        tallies.functions()
    for thread in threads:
        thread.join()
    assert tallies.functions()["work"].cancelled == 4000


@pytest.mark.parametrize("seconds", [1e-5, 2 * LONG])
def test_cancelled_calls_are_not_listed_for_ever_if_nobody_asks(seconds):
    tallies, call = Tallies(lambda: 0.0), call_of()
    end(tallies, call, 300)
    for _ in range(100):
        tallies.cancelled(call_of("other"))
    end(tallies, call, EVERY, seconds)
    assert tallies._cancelled == []
    assert tallies.functions()["other"].cancelled == 100


def test_items_that_were_not_sent_are_cancelled_with_their_chunk_once():
    tallies = Tallies(lambda: 0.0)
    chunk = Chunk(Function(b"", "square"), b"", 10, None)
    chunk.cut(4)
    tallies.cancel_chunks([chunk])
    tallies.cancel_chunks([chunk])
    assert chunk.cancelled
    assert tallies.functions()["square"].cancelled == 6


def test_number_of_functions_is_limited():
    tallies = Tallies(lambda: 0.0)
    for number in range(1500):
        tallies.ended(call_of(f"function {number}"), 1.0, 1)
    functions = tallies.functions()
    assert len(functions) <= 1001
    assert functions[OTHERS].count == 500
