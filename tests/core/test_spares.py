from woolexec.core.spares import SPARE, Spares


class Timers:
    """A clock, and what is to be called later."""

    def __init__(self):
        self.now, self.due = 100.0, []

    def after(self, seconds, piece):
        self.due.append((self.now + seconds, piece))

    def pass_time(self, seconds):
        self.now += seconds
        due, self.due = (
            [each for each in self.due if each[0] <= self.now],
            [each for each in self.due if each[0] > self.now],
        )
        for _, piece in due:
            piece()


def made():
    timers = Timers()
    return timers, Spares(lambda: timers.now, timers.after), []


def test_worker_is_let_go_when_it_was_kept_for_long_enough():
    timers, spares, gone = made()
    spares.keep("first", gone.append, 2)
    timers.pass_time(SPARE / 2)
    spares.keep("second", gone.append, 2)
    timers.pass_time(SPARE / 2)
    assert gone == ["first"]
    timers.pass_time(SPARE / 2)
    assert gone == ["first", "second"]
    assert timers.due == []


def test_worker_that_is_used_is_not_let_go():
    timers, spares, gone = made()
    spares.keep("first", gone.append, 2)
    spares.use("first")
    timers.pass_time(SPARE)
    assert gone == []


def test_if_there_are_too_many_the_one_goes_that_was_kept_longest():
    _, spares, gone = made()
    for name in ("first", "second", "third"):
        spares.keep(name, gone.append, 2)
    assert gone == ["first"]


def test_time_of_a_worker_does_not_begin_anew_while_it_does_nothing():
    timers, spares, gone = made()
    spares.keep("first", gone.append, 2)
    timers.pass_time(SPARE / 2)
    spares.keep("first", gone.append, 2)
    timers.pass_time(SPARE / 2)
    assert gone == ["first"]
