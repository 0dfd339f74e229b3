import random

import pytest

from woolexec.core.histogram import BOUNDS, Histogram


def made(durations):
    histogram = Histogram()
    for seconds in durations:
        histogram.add(seconds)
    return histogram


def test_empty_histogram_has_no_quantiles():
    assert [Histogram().quantile(fraction) for fraction in (0.0, 0.5, 1.0)] == [0.0, 0.0, 0.0]
    assert Histogram().bins() == []


@pytest.mark.parametrize("seed", range(5))
def test_quantiles_are_right_to_a_twentieth(seed):
    random.seed(seed)
    durations = sorted(random.lognormvariate(-5, 3) for _ in range(5000))
    histogram = made(durations)
    for fraction in (0.05, 0.5, 0.95):
        assert histogram.quantile(fraction) == pytest.approx(durations[int(fraction * 5000)], rel=0.05)


def test_count_total_and_extremes_are_exact():
    histogram = made([0.25, 0.5, 3.0])
    assert (histogram.count, histogram.total, histogram.min, histogram.max) == (3, 3.75, 0.25, 3.0)


def test_quantiles_lie_between_the_extremes():
    histogram = made([1.01] * 10)
    assert {histogram.quantile(fraction) for fraction in (0.0, 0.5, 0.95, 1.0)} == {1.01}


def test_duration_counts_as_often_as_is_said():
    histogram = Histogram()
    histogram.add(0.001, 99)
    histogram.add(1.0)
    assert histogram.count == 100
    assert histogram.quantile(0.95) == pytest.approx(0.001, rel=0.05)
    assert sum(count for _, count in histogram.bins()) == 100


@pytest.mark.parametrize("seconds", [0.0, 1e-12, BOUNDS[0], BOUNDS[-1], 1e9])
def test_durations_of_any_length_have_a_bin(seconds):
    histogram = made([seconds])
    [(bound, count)] = histogram.bins()
    assert seconds <= bound
    assert count == 1
    assert histogram.quantile(0.5) == seconds
