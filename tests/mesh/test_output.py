"""The output of tasks at peers arrives at their caller, and at no other client."""

import os
import signal
import sys

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import PeerPoolExecutor, WorkerLostError, current_executor, progress
from woolexec.discovery.urls import discoveries
from woolexec.mesh.server import output_feed
from woolexec.mesh.server.peer import Peer


def speak(*words):
    print(*words)
    print("careful", file=sys.stderr)
    os.system("echo process")
    return len(words)


def heard(capsys, is_all):
    """Wait until what was written is all; return it."""
    said = ["", ""]

    def look():
        said[:] = map(str.__add__, said, capsys.readouterr())
        return is_all(*said)

    eventually(look)
    return said


def test_lines_are_there_when_the_result_is(pool, capsys):
    assert pool.submit(speak, "one", 2).result(PATIENCE) == 2
    assert capsys.readouterr() == ("one 2\nprocess\n", "careful\n")


def count():
    for number in range(2):
        print("item", number)
        yield number


class Cow:
    def __init__(self):
        print("born")

    def say(self):
        print("moo")
        return 3


async def meet():
    print("coroutine")
    return 1


def die():
    print("last words")
    os.write(2, b"of C")
    os.kill(os.getpid(), signal.SIGKILL)


@pytest.mark.slow
def test_everything_that_runs_there_is_heard(pool, capsys):
    assert pool.submit(meet).result(PATIENCE) == 1
    assert capsys.readouterr().out == "coroutine\n"
    assert list(pool.map(speak, range(3))) == [1] * 3
    assert capsys.readouterr().out.count("process") == 3
    stream = pool.submit(count).result(PATIENCE)
    for number, item in enumerate(stream):
        assert item == number
        assert capsys.readouterr().out == f"item {number}\n"
    assert pool.actor(Cow).submit(Cow.say).result(PATIENCE) == 3
    assert "moo\n" in capsys.readouterr().out
    assert isinstance(pool.submit(die).exception(PATIENCE), WorkerLostError)
    out, err = capsys.readouterr()
    assert (out[-11:], err) == ("last words\n", "of C\n")


def pass_on(depth):
    print("at", depth)
    return 0 if not depth else current_executor().with_options(require={"zone": "far"}).submit(pass_on, 0).result()


@pytest.mark.slow
def test_task_of_a_task_at_another_peer_is_heard(capsys):
    with (
        Peer(1, credentials=CREDENTIALS, tags=["zone=far"]) as far,
        Peer(1, credentials=CREDENTIALS, peers=discoveries(far.address)) as near,
        joined(near) as pool,
    ):
        assert pool.submit(pass_on, 1).result(PATIENCE) == 0
        lines = capsys.readouterr().out.splitlines()
    assert [line.partition(") ")[2] or line for line in lines] == ["at 1", "at 0"]


def print_later():
    import threading

    thread = threading.Timer(0.05, print, ("of no task",))
    thread.daemon = True
    thread.start()


@pytest.mark.slow
def test_lines_of_no_task_are_heard_by_their_own_client_only(peer, capsys):
    with joined(peer) as pool, PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, output=None) as silent:
        silent.submit(speak, "unheard").result(PATIENCE)
        pool.submit(print_later).result(PATIENCE)
        out = heard(capsys, lambda out, _: "of no task\n" in out)[0]
    assert "unheard" not in out


def test_client_that_does_not_want_it_leaves_it_at_the_peer(peer, capfd):
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, output=None) as pool:
        pool.submit(os.system, "echo at the peer").result(PATIENCE)
    assert capfd.readouterr().out == "at the peer\n"  # the peer is in this process


def shout():
    sys.stdout.write("\x1b]0;title\x07\x1b[2J\rfalse line\n\x9b31m\tred\n")


@pytest.mark.slow
def test_control_characters_of_a_peer_that_is_not_trusted_are_escaped(peer, capsys):
    with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, results="plain") as pool:
        pool.with_options(name="\x1b[2Jname").submit(shout).result(PATIENCE)
    assert capsys.readouterr().out == "\\x1b]0;title\\x07\\x1b[2J\\rfalse line\n\\x9b31m\tred\n"


def flood():
    for _ in range(5000):
        print("x" * 999)


@pytest.mark.slow
def test_flood_that_the_link_is_too_slow_for_is_cut_and_counted(peer, capsys, monkeypatch):
    monkeypatch.setattr(output_feed, "ROOM", 10_000)
    with joined(peer) as pool:
        pool.submit(flood).result(PATIENCE)
        out, err = heard(capsys, lambda out, err: len(out) == 5_000_000 or err)
    assert len(out) == 5_000_000 or "were dropped here" in err


def work(items):
    for number in range(items + 1):
        progress(number, items, "\x1b[2Jitem")


def test_callback_hears_how_far_a_task_at_a_peer_is(pool):
    got = []
    pool.with_options(on_progress=got.append, name="job").submit(work, 100).result(PATIENCE)
    eventually(lambda: got and got[-1].done == 100)
    assert got[-1][1:] == ("job", 100, 100, "\\x1b[2Jitem")
