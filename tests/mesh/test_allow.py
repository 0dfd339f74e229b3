"""Peers that run only functions on a list, and their records of these."""

import datetime as dt
import os
import pickle
import pkgutil
import sys
from decimal import Decimal
from pathlib import Path

import numpy as np
import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, joined
from woolexec import PeerPoolExecutor, current_executor
from woolexec.base_error import rebuild
from woolexec.mesh.server.peer import Peer

pytestmark = pytest.mark.matrix

ALLOWED = [f"tests.mesh.tasks:{name}" for name in ("weigh", "add", "count", "nest_with", "shared", "path_of_shared")]


class Evil:
    """Runs something when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.fixture
def strict():
    """A pool whose only peer has a list."""
    with Peer(1, credentials=CREDENTIALS, allow=ALLOWED) as peer, joined(peer) as pool:
        yield pool


def test_what_is_on_the_list_runs(strict):
    assert strict.submit(tasks.weigh, b"12").result(PATIENCE) == 2
    assert strict.submit(tasks.add, 1, y=2).result(PATIENCE) == 3
    assert list(strict.map(tasks.weigh, ["a", "bb"] * 50)) == [1, 2] * 50
    with strict.stream(tasks.count, 3) as items:
        assert list(items) == [0, 1, 2]


def test_names_of_the_program_are_not_asked_for(monkeypatch):
    monkeypatch.setattr(sys.modules["__main__"], "job", tasks.weigh, raising=False)
    with Peer(1, credentials=CREDENTIALS, allow=["pkgutil:resolve_name"]) as peer, joined(peer) as pool:
        error = pool.submit(pkgutil.resolve_name, "__main__:job").exception(PATIENCE)
    assert (type(error), str(error)) == (AttributeError, "module '__main__' has no attribute 'job'")


@pytest.mark.parametrize("fn", [os.getpid, tasks.pid_of, lambda: 1, "".join, print, tasks.weigh.__call__])
def test_what_is_not_on_the_list_is_refused(strict, fn):
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        strict.submit(fn).result(PATIENCE)
    assert strict.submit(tasks.weigh, b"12").result(PATIENCE) == 2


@pytest.mark.parametrize(
    ("fn", "args"),
    [(bytearray, (10,)), (Path, ("/etc",)), (range, (3,)), (SystemExit, ()), (current_executor, ()), (complex, (1,))],
)
def test_constructors_of_plain_data_are_no_tasks(strict, fn, args):
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        strict.submit(fn, *args).result(PATIENCE)
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        list(strict.map(fn, *([arg] for arg in args or (1,))))


class Rebuilt:
    """Unpickles as what a function returns, with attributes of the sender's choice."""

    def __reduce__(self):
        return rebuild, (tasks.shared, (), {"path": "/of/the/sender"})


def test_no_argument_changes_an_object_for_others(strict):
    with pytest.raises(pickle.UnpicklingError):
        strict.submit(tasks.weigh, [Rebuilt()]).result(PATIENCE)
    assert strict.submit(tasks.path_of_shared).result(PATIENCE) == "/srv"


def test_empty_list_allows_nothing():
    with Peer(1, credentials=CREDENTIALS, allow=[]) as peer, joined(peer) as pool:
        for fn, args in ((tasks.weigh, (b"12",)), (pow, (2, 3)), (bytearray, (3,)), (lambda: 1, ())):
            with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
                pool.submit(fn, *args).result(PATIENCE)


def test_arguments_are_plain_data(strict, tmp_path):
    evil = Evil(tmp_path / "evil")
    with pytest.raises(pickle.UnpicklingError, match="is not on this peer's list"):
        strict.submit(tasks.weigh, [evil]).result(PATIENCE)
    assert not evil.path.exists()
    with pytest.raises(pickle.UnpicklingError):
        list(strict.map(tasks.weigh, [[evil]]))
    assert not evil.path.exists()
    assert strict.submit(tasks.weigh, [dt.date.min, Decimal(1), {1}, Path("x")]).result(PATIENCE) == 4
    assert strict.submit(tasks.weigh, np.arange(100_000)).result(PATIENCE) == 100_000
    assert strict.submit(tasks.weigh, [b"large" * 100_000, np.arange(10)[::2]]).result(PATIENCE) == 2
    assert strict.submit(tasks.weigh, blob=b"large" * 100_000).result(PATIENCE) == 500_000


def test_tasks_of_tasks_are_on_the_list_too(strict):
    with pytest.raises(pickle.UnpicklingError, match=r"posix:getpid is not on"):
        strict.submit(tasks.nest_with, {}).result(PATIENCE)


def test_context_variables_are_held_to_the_list_too(strict, tmp_path, monkeypatch):
    evil = pickle.dumps({"tests.mesh.word": pickle.dumps(1), "evil": Evil(tmp_path / "evil")})
    monkeypatch.setattr("woolexec.wire.context_vars.capture", lambda name: evil)
    with pytest.raises(pickle.UnpicklingError):
        strict.submit(tasks.weigh, b"12").result(PATIENCE)
    assert not (tmp_path / "evil").exists()


def test_initializers_are_not_run(tmp_path):
    with Peer(1, credentials=CREDENTIALS, allow=ALLOWED) as peer:
        pool = PeerPoolExecutor(
            peers=peer.address, credentials=CREDENTIALS, initializer=Path.touch, initargs=(tmp_path / "evil",)
        )
        with pool, pytest.raises(pickle.UnpicklingError):
            pool.submit(tasks.weigh, b"").result(PATIENCE)
    assert not (tmp_path / "evil").exists()


def test_code_is_neither_kept_nor_used():
    with Peer(1, credentials=CREDENTIALS, allow=ALLOWED) as peer:
        pool = PeerPoolExecutor(peers=peer.address, credentials=CREDENTIALS, ship=["pytest"])
        with pool, pytest.raises(pickle.UnpicklingError):
            pool.submit(tasks.weigh, b"").result(PATIENCE)
            (tenant,) = peer._acceptor.tenants
            assert not os.path.exists(tenant.code_store.folder)


def test_errors_come_home_as_themselves_from_a_strict_peer(strict):
    with pytest.raises(TypeError):
        strict.submit(tasks.weigh, 3).result(PATIENCE)
