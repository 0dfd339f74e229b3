"""`woolexec top`, in this process."""

import json
import os
import subprocess
import sys

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from woolexec import Credentials, PeerPoolExecutor, cli
from woolexec.mesh.server.peer import Peer
from woolexec.statistics import Statistics


def hostile(_):
    """Have a name with which a terminal could be controlled."""


hostile.__name__ = hostile.__qualname__ = "\x1b[2J\nwork"


@pytest.fixture
def pool():
    with PeerPoolExecutor(1, dashboard=True) as pool:
        list(pool.map(abs, range(10)))
        yield pool


@pytest.mark.parametrize("arguments", [[], [str(os.getpid())]])
def test_the_pools_of_a_process_and_of_all_are_shown_as_their_statistics_are_printed(pool, capsys, arguments):
    pool.submit(hostile, None).result()

    assert cli.main(["top", "--timeout=30", "--once", *arguments]) == 0

    text = capsys.readouterr().out
    assert text.startswith(f"pool of process {os.getpid()} on {os.uname().nodename}\ntasks ")
    assert "ended   11 returned" in text
    assert r"\x1b[2J\nwork" in text
    assert text.replace("\n", "").isprintable()


def test_scripts_get_all_of_the_statistics(pool, capsys):
    assert cli.main(["top", "--timeout=30", "--json"]) == 0

    (found,) = json.loads(capsys.readouterr().out)
    shown, now = Statistics.from_dict(found), pool.statistics()
    assert (shown.pid, shown.tasks, shown.functions) == (os.getpid(), now.tasks, now.functions)
    assert [each.pid for each in shown.workers] == [each.pid for each in now.workers]


def test_each_pool_of_a_process_is_shown(pool, capsys):
    with PeerPoolExecutor(1, dashboard=True):
        assert cli.main(["top", "--timeout=30", "--json", str(os.getpid())]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 2


def test_a_pool_is_there_until_it_ends(capsys):
    with PeerPoolExecutor(1, dashboard=True):
        assert cli.main(["top", "--timeout=30", "--once"]) == 0
    assert cli.main(["top", "--timeout=30", "--once"]) == 2
    assert "no pool of this user on this machine has a page: make it with dashboard=True" in capsys.readouterr().err


def test_a_process_without_a_page_is_named(pool, capsys):
    assert cli.main(["top", "--timeout=30", str(os.getppid())]) == 2
    said = capsys.readouterr().err
    assert f"process {os.getppid()} has no pool with a page, or is not of this user" in said
    assert "woolexec serve --dashboard" in said


def test_a_pool_that_was_killed_is_not_shown(pool, capsys):
    code = "import os; from woolexec import PeerPoolExecutor; pool = PeerPoolExecutor(1, dashboard=True); os._exit(1)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 1

    assert cli.main(["top", "--timeout=30", "--json"]) == 0

    (found,) = json.loads(capsys.readouterr().out)
    assert found["pid"] == os.getpid()


def test_a_peer_shows_its_user_what_it_does_for_each_client(capsys):
    credentials = Credentials.of_this_user()
    with (
        Peer(1, credentials=credentials) as peer,
        PeerPoolExecutor(0, peers=peer.address, credentials=credentials) as pool,
    ):
        assert pool.submit(abs, -1).result() == 1
        assert cli.main(["top", "--timeout=30", peer.address]) == 0
        text = capsys.readouterr().out
        assert f" at {peer.address}\ntasks " in text
        assert "\nabs " in text
        assert cli.main(["top", "--timeout=30", "--json", peer.address]) == 0
        assert "abs" in [each["name"] for made in json.loads(capsys.readouterr().out) for each in made["functions"]]


def test_a_peer_that_cannot_be_asked_is_named_without_raw_characters(capsys):
    assert cli.main(["top", "unix:/nowhere/\x1b[2J"]) == 2
    assert capsys.readouterr().err.rstrip("\n").isprintable()
