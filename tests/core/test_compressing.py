import pytest

from woolexec.core.compressing import Compressing, Trial

PART = 512 << 10


class Clock:
    """Sends parts over a link of a constant rate, as an outbox does, and adds up how long that takes."""

    def __init__(self, byte, pack, ratio):
        self.byte, self.pack, self.ratio = byte, pack, ratio
        self.compressing = Compressing()
        self.seconds, self.packed = 0.0, 0

    def send(self, parts, trial=None):
        trial = trial or Trial()
        for _ in range(parts):
            took, size = 0.0, PART
            if self.compressing.pays(trial):
                took, size = PART * self.pack, int(PART * self.ratio)
                self.compressing.packed(trial, PART, size, took)
                self.packed += 1
            waited = max(0.0, size * self.byte - took)  # the link goes on while the next part is compressed
            self.compressing.sent(size, waited, took)
            self.seconds += took + waited
        return self

    @property
    def plain(self):
        return PART * self.byte


SLOW, FAST, COMPRESSOR = 1 / 12e6, 1 / 1e9, 1 / 500e6


def test_nearly_all_parts_are_compressed_on_a_slow_link():
    clock = Clock(SLOW, COMPRESSOR, 0.25).send(200)
    assert clock.packed >= 190
    assert clock.seconds < 200 * clock.plain / 3


def test_only_trials_are_compressed_on_a_fast_link():
    clock = Clock(FAST, COMPRESSOR, 0.25).send(1000)
    assert 1 <= clock.packed <= 5
    assert clock.seconds < 1000 * clock.plain * 1.02


def test_what_does_not_become_smaller_is_tried_once_a_payload():
    clock = Clock(SLOW, COMPRESSOR, 0.99)
    for number in range(1, 11):
        assert clock.send(20).packed == number


def test_payloads_that_do_are_found_among_those_that_do_not():
    clock = Clock(SLOW, COMPRESSOR, 0.99).send(20)
    clock.ratio = 0.25
    assert clock.send(20).packed >= 1 + 17


def test_small_payloads_count_as_one_long_one():
    clock = Clock(FAST, COMPRESSOR, 0.25)
    for _ in range(1000):
        clock.send(2)
    assert clock.packed <= 10


@pytest.mark.parametrize(("before", "after", "compressed"), [(SLOW, FAST, False), (FAST, SLOW, True)])
def test_link_that_changes_is_noticed(before, after, compressed):
    clock = Clock(before, COMPRESSOR, 0.25).send(300)
    clock.byte = after
    clock.send(400)
    clock.packed = 0
    assert (clock.send(100).packed > 50) is compressed


def test_link_that_is_faster_than_compressing_is_measured_again():
    clock = Clock(1 / 100e6, 1 / 300e6, 0.1).send(10)
    clock.packed = 0
    clock.send(1000)
    assert 800 < clock.packed < 990  # the others were sent to see how fast it is
