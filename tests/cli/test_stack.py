"""`woolexec stack`, in this process."""

import json
import os
import signal

import pytest

from tests.cli.tasks import wait_after_nested, wait_for, wait_in_event_loop
from tests.faults.tasks import eventually
from woolexec import Credentials, PeerPoolExecutor, cli
from woolexec.mesh.server.peer import Peer

pytestmark = pytest.mark.linux


@pytest.fixture
def running(tmp_path):
    """A pool whose two workers run one task, and nothing."""
    go = tmp_path / "go"
    with PeerPoolExecutor(2) as pool:
        pool.run_on_all(abs, -1)
        future = pool.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)
        yield pool
        go.touch()
        future.result()


def test_process_with_a_pool_is_shown_with_all_of_its_workers(running, capsys):
    assert cli.main(["stack", str(os.getpid())]) == 0

    text = capsys.readouterr().out
    assert text.count("(task ") == 1
    assert text.startswith("wait_for (task ")
    assert f'  File "{wait_for.__code__.co_filename}", line ' in text
    assert "assert eventually(path.exists)" in text


def test_worker_is_shown_alone_and_one_that_is_idle_runs_nothing(running, capsys):
    shown = []
    for pid in running._processes:
        assert cli.main(["stack", str(pid), "--json"]) == 0
        shown.append(json.loads(capsys.readouterr().out))

    ((task,),) = [found for found in shown if found]
    assert (task["function"], task["host"]) == ("wait_for", os.uname().nodename)
    assert len(shown) == 2


def seconds_of(pool, capsys):
    """Return for how long each task of a pool runs, as `woolexec stack` says, by name."""
    found = []
    for pid in pool._processes:
        assert cli.main(["stack", str(pid), "--json"]) == 0
        found += json.loads(capsys.readouterr().out)
    return {task["function"]: task["seconds"] for task in found}


def test_task_that_goes_on_after_a_nested_one_has_run_since_its_own_start(tmp_path, capsys):
    go = tmp_path / "go"
    with PeerPoolExecutor(1) as pool:
        try:
            future = pool.submit(wait_after_nested, go)
            assert eventually(go.with_suffix(".here").exists)

            seconds = seconds_of(pool, capsys)
        finally:
            go.touch()
        future.result()
    assert seconds["wait_after_nested"] > 0.05


def test_coroutine_has_run_since_its_own_start_when_others_start_after_it(tmp_path, capsys):
    first, second = tmp_path / "first", tmp_path / "second"
    with PeerPoolExecutor(1) as pool:
        try:
            futures = [pool.submit(wait_in_event_loop, first)]
            assert eventually(first.with_suffix(".here").exists)
            futures.append(pool.submit(wait_after_nested, second))
            assert eventually(second.with_suffix(".here").exists)

            seconds = seconds_of(pool, capsys)
        finally:
            first.touch()
            second.touch()
        for future in futures:
            future.result()
    assert seconds["wait_in_event_loop"] > seconds["wait_after_nested"] > 0.05


def test_worker_that_is_stopped_is_named(running, capsys):
    (busy, *_) = running._processes
    os.kill(busy, signal.SIGSTOP)
    try:
        assert cli.main(["stack", str(busy)]) == 0
    finally:
        os.kill(busy, signal.SIGCONT)
    assert "its worker is stopped by a signal" in capsys.readouterr().out


def test_peer_is_shown_to_its_user(tmp_path, capsys):
    go = tmp_path / "go"
    credentials = Credentials.of_this_user()
    with (
        Peer(1, credentials=credentials) as peer,
        PeerPoolExecutor(0, peers=peer.address, credentials=credentials) as pool,
    ):
        future = pool.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)

        assert cli.main(["stack", peer.address]) == 0

        text = capsys.readouterr().out
        assert text.startswith("wait_for (task ")
        assert f"(peer at {peer.address})" in text
        go.touch()
        future.result()


@pytest.mark.parametrize("where", ["unix:/nowhere/\x1b[2J", "999999999", "nonsense"])
def test_what_cannot_be_asked_is_named_without_raw_characters(where, capsys):
    assert cli.main(["stack", where]) == 2

    said = capsys.readouterr()
    assert said.out == ""
    assert said.err.startswith("woolexec stack: ")
    assert said.err.rstrip("\n").isprintable()
