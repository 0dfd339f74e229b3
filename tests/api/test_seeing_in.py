import pytest

from woolexec.api import stacks
from woolexec.api.seeing_in import SeeingIn


class Engine:
    """Counts what it is told."""

    def __init__(self):
        self.interrupts = 0

    def shutdown(self, *, wait, cancel):
        assert cancel
        assert not wait

    def interrupt(self):
        self.interrupts += 1


@pytest.fixture
def pool():
    pool = SeeingIn()
    pool._engine = Engine()
    return pool


def test_tasks_are_interrupted_after_it_was_said_where_they_were(pool, monkeypatch):
    error, said = KeyboardInterrupt(), []
    monkeypatch.setattr(stacks, "note_what_runs", lambda *about: said.append((*about, pool._engine.interrupts)))

    pool._interrupt(error)

    assert said == [(pool._engine, error, 0)]
    assert pool._engine.interrupts == 1


def test_second_interrupt_meanwhile_keeps_nothing_from_the_tasks(pool, monkeypatch):
    def interrupted(_engine, _error):
        raise KeyboardInterrupt

    monkeypatch.setattr(stacks, "note_what_runs", interrupted)
    with pytest.raises(KeyboardInterrupt):
        pool._interrupt(KeyboardInterrupt())

    assert pool._engine.interrupts == 1


def test_cancellation_says_nothing_about_tasks(pool, monkeypatch):
    monkeypatch.delattr(stacks, "note_what_runs")

    pool._interrupt(RuntimeError())

    assert pool._engine.interrupts == 1
