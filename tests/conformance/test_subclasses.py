"""Subclasses of executors in programs: which methods call which others."""

import pytest

from .subject import SOON, Subject


class Counting(Subject):
    """Counts what is submitted, as programs do that limit or trace their tasks."""

    count = 0

    def submit(self, fn, /, *args, **kwargs):
        self.count += 1
        return super().submit(fn, *args, **kwargs)


def test_map_goes_through_the_submit_of_a_subclass():
    with Counting(1) as pool:
        assert list(pool.map(abs, [-1, -2], timeout=SOON)) == [1, 2]
        assert pool.count == 2


def test_map_goes_through_a_submit_that_was_replaced_on_the_executor():
    with Subject(1) as pool:
        seen = []
        submit = pool.submit

        def counting(fn, /, *args, **kwargs):
            seen.append(args)
            return submit(fn, *args, **kwargs)

        pool.submit = counting
        assert list(pool.map(abs, [-1, -2], timeout=SOON)) == [1, 2]
        assert len(seen) == 2


@pytest.mark.parametrize("error", [None, KeyboardInterrupt])
def test_block_calls_a_shutdown_that_takes_nothing_but_wait(error):
    calls = []

    class Old(Subject):
        """Written before Python 3.9, which added `cancel_futures`."""

        def shutdown(self, wait=True):
            calls.append(wait)
            super().shutdown(wait)

    def use():
        with Old(1):
            if error is not None:
                raise error

    if error is None:
        use()
    else:
        with pytest.raises(error):
            use()
    assert calls == [True]
