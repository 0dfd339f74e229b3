"""`output="caller"`: the output of tasks is in the streams of this process before their results arrive."""

import asyncio
import contextlib
import ctypes
import io
import logging
import os
import signal
import subprocess
import sys
import threading

import pytest

from woolexec import PeerPoolExecutor, WorkerLostError, current_executor

PATIENCE = 30


@pytest.fixture(scope="module")
def pool():
    with PeerPoolExecutor(1, output="caller") as pool:
        pool.submit(abs, 1).result(PATIENCE)
        pool.submit(print, "starts the thread that writes").result(PATIENCE)
        yield pool


def speak(*words):
    print(*words)
    print("careful", file=sys.stderr)
    return len(words)


def test_lines_are_there_when_the_result_is(pool, capsys):
    assert pool.submit(speak, "one", 2).result(PATIENCE) == 2
    assert capsys.readouterr() == ("one 2\n", "careful\n")


def test_lines_go_where_the_streams_are_at_that_moment(pool):
    out, err = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
        pool.submit(speak, "redirected").result(PATIENCE)
    assert (out.getvalue(), err.getvalue()) == ("redirected\n", "careful\n")


def say_in_every_way():
    print("python")
    sys.stdout.flush()
    sys.stdout.buffer.write(b"bytes\n")
    subprocess.run(["echo", "process"], check=True)
    subprocess.run(["echo", "given"], check=True, stdout=sys.stdout)
    os.write(1, b"descriptor\n")
    ctypes.CDLL(None).puts(b"C")
    print("begun ", end="")
    print("line", file=sys.__stdout__)
    print("ended")
    print("without end", end="")


def test_all_that_is_written_keeps_its_order(pool, capsys):
    pool.submit(say_in_every_way).result(PATIENCE)
    expected = ["python", "bytes", "process", "given", "descriptor", "C", "line"]
    assert capsys.readouterr().out.splitlines() == [*expected, "begun ended", "without end"]


def fail():
    print("before")
    raise ValueError


def test_lines_are_there_when_the_exception_is(pool, capsys):
    assert isinstance(pool.submit(fail).exception(PATIENCE), ValueError)
    assert capsys.readouterr().out == "before\n"


def test_lines_of_the_items_of_a_map_are_there_before_their_results(pool, capsys):
    assert list(pool.map(speak, range(50))) == [1] * 50
    assert capsys.readouterr().out.split() == [str(number) for number in range(50)]


def count():
    for number in range(3):
        print("item", number)
        yield number


async def count_asynchronously():
    for number in range(3):
        print("item", number)
        yield number


@pytest.mark.parametrize("generator", [count, count_asynchronously])
def test_lines_of_a_generator_are_there_before_its_items(pool, capsys, generator):
    stream = pool.submit(generator).result(PATIENCE)
    for number in range(3):
        assert next(stream) == number
        assert capsys.readouterr().out == f"item {number}\n"


async def meet(name):
    print(name, "be", end="")
    await asyncio.sleep(0)
    print("gins")
    await asyncio.to_thread(print, name, "in a thread")
    return name


def test_lines_of_coroutines_are_whole(pool, capsys):
    assert [future.result(PATIENCE) for future in [pool.submit(meet, name) for name in "ab"]] == ["a", "b"]
    lines = [line.partition(") ")[2] or line for line in capsys.readouterr().out.splitlines()]
    assert sorted(lines) == ["a begins", "a in a thread", "b begins", "b in a thread"]


def test_lines_are_there_when_an_awaited_result_is(pool, capsys):
    assert asyncio.run(pool.run(speak, "awaited")) == 1
    assert capsys.readouterr().out == "awaited\n"


def use_thread():
    thread = threading.Thread(target=print, args=("thread",))
    thread.start()
    thread.join()


def test_thread_of_a_task_prints_for_the_task(pool, capsys):
    pool.submit(use_thread).result(PATIENCE)
    assert capsys.readouterr().out == "thread\n"


def ask_others():
    print("outer")
    return current_executor().submit(speak, "inner").result()


def test_lines_of_a_task_of_a_task_are_there_when_the_result_of_that_is(pool, capsys):
    assert pool.submit(ask_others).result(PATIENCE) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.partition(") ")[2] or line for line in lines] == ["outer", "inner"]


def log_and_print():
    print("first")
    logging.getLogger("app").warning("second")
    print("third")


def test_log_records_and_lines_are_handled_by_one_thread(pool, capsys, caplog):
    pool.submit(log_and_print).result(PATIENCE)
    assert capsys.readouterr().out == "first\nthird\n"


def flood():
    for _ in range(20_000):
        print("x" * 99)


def test_flood_is_complete_or_says_what_is_missing(pool, capsys):
    pool.submit(flood).result(PATIENCE)
    out, err = capsys.readouterr()
    assert len(out) == 2_000_000 or "were dropped here" in err


class Stopping(io.StringIO):
    """A stream that does not go on, as a terminal after Ctrl-S."""

    def __init__(self):
        super().__init__()
        self.go_on = threading.Event()

    def write(self, text):
        assert self.go_on.wait(PATIENCE)
        return super().write(text)


def test_stream_that_blocks_delays_a_result_and_does_not_prevent_it(pool):
    out = Stopping()
    with contextlib.redirect_stdout(out):
        assert pool.submit(speak, "later").result(PATIENCE) == 1
        out.go_on.set()
        pool.submit(speak, "more").result(PATIENCE)
    assert out.getvalue() == "later\nmore\n"


def test_caller_without_streams_has_its_results(pool, monkeypatch):
    monkeypatch.setattr(sys, "stdout", None)
    monkeypatch.setattr(sys, "stderr", None)
    assert pool.submit(speak, "nowhere").result(PATIENCE) == 1


def die():
    print("last words")
    os.write(2, b"of C")
    os.kill(os.getpid(), signal.SIGKILL)


def initialize():
    print("initialized")


class Cow:
    def __init__(self):
        print("born")

    def say(self):
        print("moo")
        return 3


def test_initializers_actors_and_dying_workers_are_heard(capsys):
    with PeerPoolExecutor(1, output="caller", prefix=None, initializer=initialize) as pool:
        assert isinstance(pool.submit(die).exception(PATIENCE), WorkerLostError)
        out, err = capsys.readouterr()
        assert (out, err) == ("initialized\nlast words\n", "of C\n")
        cow = pool.actor(Cow)
        assert cow.submit(Cow.say).result(PATIENCE) == 3
        assert capsys.readouterr().out.splitlines()[-2:] == ["born", "moo"]


def test_nothing_changes_by_default(capfd):
    with PeerPoolExecutor(1) as pool:
        assert pool._engine._rounds.outcomes.said is None
        with contextlib.redirect_stdout(io.StringIO()) as out:
            pool.submit(print, "inherited", flush=True).result(PATIENCE)
    assert out.getvalue() == ""
    assert capfd.readouterr().out == "inherited\n"


@pytest.mark.parametrize("value", ["here", "", "Caller"])
def test_output_has_three_values(value):
    with pytest.raises(ValueError, match="output must be 'auto', 'caller' or None"):
        PeerPoolExecutor(1, output=value)


@pytest.mark.parametrize("value", [1, True, b"caller", sys.stdout])
def test_output_is_no_object(value):
    with pytest.raises(TypeError, match="output must be"):
        PeerPoolExecutor(1, output=value)


@pytest.mark.parametrize("value", ["{who}", "{", "{name.x}", "{name[x]}", "{0}"])
def test_prefix_has_only_known_fields(value):
    with pytest.raises(ValueError, match="prefix may only have the fields"):
        PeerPoolExecutor(1, prefix=value)


def test_prefix_is_a_text():
    with pytest.raises(TypeError, match="prefix must be"):
        PeerPoolExecutor(1, prefix=3)
