"""An error in a policy costs no task."""

import logging

import pytest

from woolexec import LeastOutstanding, PowerOfTwoChoices, RoundRobin
from woolexec.core.policies import IdleFirst
from woolexec.engine.policy_guard import guarded


class Candidate:
    free, width, outstanding = 0, 1, 0


class Failing:
    def choose(self, candidates, task):
        raise LookupError("no idea")

    def done(self, candidate, seconds):
        raise LookupError("did not listen")


class Inventing:
    def choose(self, candidates, task):
        return Candidate()


@pytest.mark.parametrize("policy", [IdleFirst(), LeastOutstanding(), PowerOfTwoChoices(), RoundRobin()])
def test_policies_of_the_package_need_no_guard(policy):
    assert guarded(policy) is policy


def test_policy_derived_from_one_of_the_package_is_guarded():
    class Own(RoundRobin):
        pass

    own = Own()
    assert guarded(own) is not own


def test_default_is_used_without_a_policy():
    assert isinstance(guarded(None), IdleFirst)


@pytest.mark.parametrize("policy", [Failing(), Inventing()])
def test_default_chooses_when_a_policy_fails_and_the_first_failure_is_logged(policy, caplog):
    candidates, guard = [Candidate(), Candidate()], guarded(policy)
    with caplog.at_level(logging.ERROR, "woolexec"):
        for _ in range(3):
            assert guard.choose(candidates, "task") in candidates
            guard.done(candidates[0], 1.0)
    (record,) = caplog.records
    assert "a placement policy failed" in record.getMessage()
