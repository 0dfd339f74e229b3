"""Code that is sent to peers that lack it."""

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from tests.marks import slow
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import PeerPoolExecutor
from woolexec.discovery.urls import discoveries
from woolexec.mesh.client.code_archive import code_archive
from woolexec.mesh.server import tenant
from woolexec.mesh.server.peer import Peer
from woolexec.worker.setup import Setup

CLIENT = """
import sys
from woolexec import Credentials, PeerPoolExecutor
import parcel
from parcel.inner import deep
with PeerPoolExecutor(peers={address!r}, credentials=Credentials({token!r}), ship={ship}) as pool:
    try:
        print(*(pool.submit(fn, 20).result() for fn in (parcel.shallow, deep, parcel.nest)))
    except ModuleNotFoundError as exc:
        print(*exc.__notes__)
"""

FAR = """
from woolexec import Credentials, PeerPoolExecutor
import parcel
with PeerPoolExecutor(peers={address!r}, credentials=Credentials({token!r}), ship=["parcel"]) as pool:
    print(pool.submit(parcel.nest_far, {folder!r}).result())
"""


@pytest.fixture
def parcel(tmp_path):
    """A package that only the client has."""
    folder = tmp_path / "client" / "parcel"
    folder.mkdir(parents=True)
    (folder / "inner.py").write_text("def deep(x):\n    from parcel import FACTOR\n    return FACTOR * x\n")
    write(folder, 2)
    return folder


def write(folder, factor):
    (folder / "__init__.py").write_text(
        textwrap.dedent(f"""
        FACTOR = {factor}

        def shallow(x):
            return FACTOR * x

        def nest(x):
            from woolexec import current_executor
            pool = current_executor()
            futures = [pool.submit(shallow, x) for _ in range(4)]
            return {{future.result() for future in futures}}

        def meet(folder, here, there):
            import os, pathlib, time
            pathlib.Path(folder, here).touch()
            for _ in range(4000):
                if pathlib.Path(folder, there).exists():
                    return os.getppid()
                time.sleep(0.005)
            raise TimeoutError("nobody came")

        def nest_far(folder):
            from woolexec import current_executor
            pool = current_executor()
            futures = [pool.submit(meet, folder, *names) for names in ("ab", "ba")]
            return len({{future.result() for future in futures}})
        """)
    )


def run(parcel, peer, ship):
    code = CLIENT.format(address=peer.address, token=CREDENTIALS.token, ship=ship)
    done = subprocess.run(
        [sys.executable, "-B", "-c", code], cwd=parcel.parent, capture_output=True, text=True, timeout=PATIENCE * 2
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("ship", ["[parcel]", *slow("['parcel']", "['parcel.inner']", "['./parcel']")])
def test_package_that_is_shipped_can_be_used_by_tasks_and_by_their_tasks(peer, parcel, ship):
    assert run(parcel, peer, ship) == "40 40 {40}\n"


@pytest.mark.slow
def test_code_goes_from_peer_to_peer_with_the_tasks_that_tasks_submit(parcel, tmp_path, monkeypatch):
    monkeypatch.setattr(tenant, "LINGER", PATIENCE)
    with (
        Peer(1, credentials=CREDENTIALS) as far,
        Peer(1, credentials=CREDENTIALS, peers=discoveries(far.address)) as near,
    ):
        for time in ("first", "second"):  # when it is there
            (tmp_path / time).mkdir()
            code = FAR.format(address=near.address, token=CREDENTIALS.token, folder=str(tmp_path / time))
            done = subprocess.run(
                [sys.executable, "-B", "-c", code],
                cwd=parcel.parent,
                capture_output=True,
                text=True,
                timeout=PATIENCE * 2,
            )
            assert done.stdout == "2\n", done.stderr
        assert archives(far) == [code_archive(parcel).digest + ".zip"] * 2  # each of the two clients has its own


def archives(peer):
    """The archives that a peer keeps, of all its clients."""
    folders = [Path(client.code_store.folder) for client in peer._acceptor.tenants]
    return [path.name for folder in folders for path in folder.iterdir()]


def test_module_that_is_missing_is_named_with_its_host_and_what_to_do(peer, parcel):
    said = run(parcel, peer, "[]")
    assert "while unpickling the function and its arguments in worker" in said
    assert "ship=['parcel']" in said


def test_new_version_takes_the_place_of_the_old_one(peer, parcel):
    assert run(parcel, peer, "['parcel']") == "40 40 {40}\n"
    write(parcel, 3)
    assert run(parcel, peer, "['parcel']") == "60 60 {60}\n"


@pytest.mark.slow
@pytest.mark.parametrize("linger", [0.05, PATIENCE])
def test_archive_goes_with_its_client_and_with_the_peer(parcel, monkeypatch, linger):
    monkeypatch.setattr(tenant, "LINGER", linger)
    with Peer(1, credentials=CREDENTIALS) as peer:
        with PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, ship=["pytest"]) as pool:
            pool.submit(abs, -1).result(PATIENCE)
            pool.submit(abs, -1).result(PATIENCE)
            (archive,) = archives(peer)
            (folder,) = (Path(client.code_store.folder) for client in peer._acceptor.tenants)
            assert (folder / archive).exists()
        if linger < PATIENCE:
            eventually(lambda: not folder.exists())
    assert not folder.exists()


def test_archive_that_is_not_what_it_says_ends_its_link(peer, monkeypatch, parcel):
    monkeypatch.setattr("woolexec.mesh.client.sent_code._PIECE", 100)
    good = code_archive(parcel)
    with joined(peer) as pool:
        pool._peers._setup = Setup([(good.name, "0" * 64)])
        pool._peers._code = {"0" * 64: good.data}.get
        (link,) = pool._peers.links
        link.close()
        eventually(lambda: "digest of a code archive does not match" in pool._peers.explain())
