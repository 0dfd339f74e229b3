from itertools import islice

from tests.chaos.plan import KEPT, History, Step, action, steps, weights_of


class Actions:
    @action(3)
    def often(self):
        """Do nothing."""

    @action(1)
    def seldom(self):
        """Do nothing."""

    def never(self):
        """Do nothing."""


def test_actions_of_a_class_are_those_that_are_marked():
    assert weights_of(Actions) == {"often": 3, "seldom": 1}


def test_seed_fixes_actions_their_order_and_what_each_draws():
    weights = weights_of(Actions)
    first, second, other = (list(islice(steps(seed, weights), 50)) for seed in (7, 7, 8))
    assert first == second
    assert first != other
    assert [step.dice().random() for step in first] == [step.dice().random() for step in second]


def test_action_that_draws_more_changes_nothing_that_follows():
    following = steps(7, weights_of(Actions))
    next(following).dice().randbytes(100)
    assert next(following) == list(islice(steps(7, weights_of(Actions)), 2))[1]


def test_actions_are_drawn_by_weight():
    names = [step.action for step in islice(steps(1, weights_of(Actions)), 4000)]
    assert 2800 < names.count("often") < 3200


def test_history_shows_the_last_steps_and_what_they_did():
    history = History(lambda: 0.0)
    for number in range(KEPT + 5):
        history.add(Step(number, "often", 0), f"thing {number}" if number % 2 else None)
    lines = str(history).splitlines()
    assert len(lines) == KEPT
    assert lines[-1].endswith("step    64  often")
    assert lines[-2].endswith("step    63  often: thing 63")
    assert history.last == KEPT + 4
