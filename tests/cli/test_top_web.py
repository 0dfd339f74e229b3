"""`woolexec top --web`, as browsers see it."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.cli.pages import first_event, get, opened
from tests.cli.serving import PATIENCE
from tests.cli.tasks import wait_for
from tests.faults.tasks import eventually
from woolexec import Credentials, CredentialsError, PeerPoolExecutor, PeerRefusedError, cli
from woolexec.cli.top_web import RemoteView
from woolexec.mesh.server.peer import Peer


def test_top_prints_the_urls_of_pages_that_are_there(capsys):
    with PeerPoolExecutor(1, dashboard=True) as pool:
        assert cli.main(["top", "--web", "--timeout=30"]) == 0
        assert pool.dashboard_url in capsys.readouterr().out


def test_top_makes_a_page_of_a_peer_until_that_ends(tmp_path):
    go = tmp_path / "go"
    credentials = Credentials.of_this_user()
    with (
        Peer(1, credentials=credentials) as peer,
        PeerPoolExecutor(peers=peer.address, credentials=credentials) as pool,
    ):
        future = pool.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)
        command = [sys.executable, "-m", "woolexec", "top", "--web", peer.address]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as top:
            where, _, url = top.stdout.readline().strip().rpartition(": ")
            assert where == f"peer at {peer.address}"
            shown = first_event(url)
            assert [each["task"].partition(" of ")[0] for each in shown["workers"].values()] == ["wait_for"]
            assert eventually(lambda: [each["function"] for each in get(url, "stacks")] == ["wait_for"])
            go.touch()
            future.result(PATIENCE)
            peer.close()
            with opened(url, "events") as answer:
                assert b"event: ended" in answer.read()
            assert top.wait(PATIENCE) == 0


@pytest.mark.parametrize("error", [PeerRefusedError, CredentialsError])
def test_a_page_ends_when_its_peer_cannot_be_asked_any_more(error):
    def clients():
        raise error("it cannot")

    with ThreadPoolExecutor(1) as thread:
        view = RemoteView(SimpleNamespace(clients=clients), thread)
        assert view.snapshot() is None
        assert view.ended.is_set()
