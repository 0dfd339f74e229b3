"""The fuzzers, with fixed seeds and few cases: ``make fuzz`` runs them for longer."""

from random import Random

import pytest

from tests.fuzz import inputs
from tests.fuzz.__main__ import main, run
from woolexec.mesh.server.definitions import Definitions

pytestmark = pytest.mark.linux

CASES = {"decoder": 800, "session": 60, "link": 100, "worker": 12, "listener": 150}


@pytest.mark.parametrize("target", CASES)
def test_hostile_inputs_harm_nobody_else(target):
    assert run(target, 1, cases=CASES[target]) == CASES[target]


def test_flaw_is_seen_and_its_case_is_named(monkeypatch):
    def find(self, frame):
        if frame.function not in self.slots:
            raise RuntimeError("a flaw")
        return self.slots[frame.function]

    monkeypatch.setattr(Definitions, "function", find)
    with pytest.raises(RuntimeError) as caught:
        run("session", 1, cases=200)
    assert "of session, seed 1" in caught.value.__notes__[0]


def test_inputs_depend_on_the_seed_alone():
    first, again, other = ([inputs.message(Random(seed), [1, 2]) for _ in range(3)] for seed in (1, 1, 2))
    assert first == again != other


def test_targets_run_for_a_while_on_demand(capsys):
    assert main(["decoder", "--seconds", "0.2", "--seed", "3"]) == 0
    assert "cases" in capsys.readouterr().out
