"""`woolexec serve --dashboard`, as browsers and clients see it."""

import os
import signal
import socket
import subprocess

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.cli.pages import first_event, get
from tests.cli.serving import PATIENCE, run_serve, serving
from tests.cli.tasks import wait_for
from tests.faults.tasks import eventually
from woolexec import PeerPoolExecutor


def test_the_page_of_a_peer_shows_all_clients_and_whose_tasks_are_whose(tmp_path):
    go = tmp_path / "go"
    with (
        serving("--dashboard", "0") as (process, about),
        PeerPoolExecutor(peers=about["address"]) as one,
        PeerPoolExecutor(peers=about["address"]) as other,
    ):
        assert other.submit(abs, -1).result(PATIENCE) == 1
        future = one.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)

        shown = first_event(about["dashboard"])

        of = f" of {os.uname().nodename}:{os.getpid()} (token "
        assert any(name.startswith(f"abs{of}") for name in shown["functions"])
        (running,) = [each for each in shown["workers"].values() if each["task"]]
        assert running["task"].startswith(f"wait_for{of}")
        assert running["memory"] > 1 << 20
        assert (shown["tasks"]["running"], shown["tasks"]["returned"]) == (1, 1)
        assert shown["peers"][about["address"]]["workers"] == 1
        assert shown["pool"]["pid"] == process.pid
        assert eventually(lambda: get(about["dashboard"], "stacks"))
        (task,) = get(about["dashboard"], "stacks")
        assert (task["function"], task["pid"]) == ("wait_for", running["pid"])
        assert f" {task['client']}".startswith(of.removeprefix(" of"))
        assert get(about["dashboard"], "statistics")["tasks"]["running"] == 1
        go.touch()
        future.result(PATIENCE)


def test_the_token_of_the_page_is_in_no_log():
    with serving("--dashboard", "0", stderr=subprocess.PIPE) as (process, about):
        process.send_signal(signal.SIGTERM)
        log = process.stderr.read()
        address, _, token = about["dashboard"].partition("?token=")
        assert f"a page of this peer at {address}; woolexec top --web prints its URL" in log
        assert token not in log


def test_nothing_listens_without_being_asked_for():
    with serving() as (_, about):
        assert "dashboard" not in about


def test_an_address_that_is_taken_is_said():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        done = run_serve("--dashboard", str(taken.getsockname()[1]))
    assert done.returncode == 1
    assert "woolexec serve: --dashboard 127.0.0.1:" in done.stderr
