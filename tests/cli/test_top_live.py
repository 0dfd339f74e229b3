"""The live view, in this process with a separate terminal."""

import contextlib
import os
import sys
import termios
import threading
from concurrent.futures import CancelledError

import pytest

pytest.importorskip("rich")
pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.cli.tasks import wait_for
from tests.faults.tasks import eventually
from woolexec import Credentials, PeerPoolExecutor, cli
from woolexec.mesh.server.peer import Peer


class Typist:
    """
    Reads what a terminal of 80 columns shows, and types.

    :param steps: texts that are waited for, one after the other, and what is then typed
    """

    def __init__(self, *steps):
        self.steps = list(steps)
        self.shown = b""
        self.terminal, user = os.openpty()
        termios.tcsetwinsize(user, (24, 80))
        self.stdin = open(user, encoding="utf-8")  # noqa: SIM115  # see `close`
        self.stdout = open(os.dup(user), "w", encoding="utf-8")  # noqa: SIM115
        self.thread = threading.Thread(target=self.run)
        self.thread.start()

    def run(self):
        begin = 0
        try:
            while chunk := os.read(self.terminal, 65536):
                self.shown += chunk
                while self.steps and (place := self.shown.find(self.steps[0][0].encode(), begin)) >= 0:
                    begin = place + len(self.steps[0][0])
                    os.write(self.terminal, self.steps.pop(0)[1].encode())
        except OSError:  # the other end was closed
            pass

    def close(self):
        self.stdin.close()
        self.stdout.close()
        self.thread.join()
        os.close(self.terminal)


@pytest.fixture
def typist(monkeypatch):
    for name, value in {"TERM": "xterm-256color", "COLUMNS": "80", "LINES": "24"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("NO_COLOR", raising=False)
    made = []

    def start(*steps):
        made.append(Typist(*steps))
        monkeypatch.setattr(sys, "stdin", made[-1].stdin)
        monkeypatch.setattr(sys, "stdout", made[-1].stdout)
        return made[-1]

    yield start
    for each in made:
        each.close()


def test_a_worker_is_chosen_its_stack_is_shown_and_q_ends(typist, tmp_path):
    go = tmp_path / "go"
    with PeerPoolExecutor(1, dashboard=True) as pool:
        future = pool.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)
        terminal = typist(
            ("wait_for", "\x1b[B"),
            ("\x1b[7m", "\r"),  # reverse: it is chosen
            ("assert eventually(path.exists)", "\x1b"),
            ("worker's task, by for", "m"),
            ("worker's task, by memory", "q"),
        )
        before = termios.tcgetattr(terminal.stdin)

        assert cli.main(["top", "--timeout=30"]) == 0

        assert terminal.steps == []
        assert termios.tcgetattr(terminal.stdin) == before
        go.touch()
        future.result()
    assert eventually(lambda: b"\x1b[?1049l" in terminal.shown)  # what was there before is there again
    assert b"\x1b[38;5;33mrunning" in terminal.shown  # in its colour


@contextlib.contextmanager
def pool_here():
    with PeerPoolExecutor(1, dashboard=True) as pool:
        yield pool, "pool of process"


@contextlib.contextmanager
def pool_at_peer():
    credentials = Credentials.of_this_user()
    with (
        Peer(1, credentials=credentials) as peer,
        PeerPoolExecutor(0, peers=peer.address, credentials=credentials) as pool,
    ):
        yield pool, peer.address


@pytest.mark.parametrize("where", [pool_here, pool_at_peer])
def test_a_task_is_cancelled_by_force_after_a_question(typist, tmp_path, where):
    go = tmp_path / "go"
    with where() as (pool, address):
        future = pool.submit(wait_for, go)
        assert eventually(go.with_suffix(".here").exists)
        terminal = typist(
            ("wait_for", "\x1b[B"),
            ("\x1b[7m", "k"),
            ("Cancel this task by force?", "\x1b"),  # no
            ("worker's task, by for", "k"),
            ("Cancel this task by force?", "y"),
            (") was cancelled", "q"),
        )

        assert cli.main(["top", "--timeout=30", *([address] if where is pool_at_peer else [])]) == 0

        assert terminal.steps == []
        with pytest.raises(CancelledError):
            future.result()
        assert address[:20].encode() in terminal.shown


def test_it_ends_with_the_pool(typist):
    with PeerPoolExecutor(1, dashboard=True) as pool:
        terminal = typist(("pool of process", " "))

        def end():
            assert eventually(lambda: not terminal.steps)
            pool.shutdown()

        ending = threading.Thread(target=end)
        ending.start()
        assert cli.main(["top", "--timeout=30", str(os.getpid())]) == 0
        ending.join()
    assert eventually(lambda: b"\x1b[?1049l" in terminal.shown)


def test_a_missing_package_is_named(typist, monkeypatch, capsys):
    typist()
    monkeypatch.setitem(sys.modules, "rich.live", None)
    with PeerPoolExecutor(1, dashboard=True):
        assert cli.main(["top", "--timeout=30"]) == 2
        assert "pip install 'woolexec[top]'" in capsys.readouterr().err
        sys.stdout.flush()
        assert cli.main(["top", "--timeout=30", "--once"]) == 0
