import math

import pytest

from woolexec.core.window import HORIZON, taken_by, weigh


def test_short_call_takes_its_run_time_and_a_long_or_unknown_one_the_whole_horizon():
    assert weigh(HORIZON / 2) == HORIZON / 2
    assert weigh(1000 * HORIZON) == HORIZON
    assert weigh(None) == HORIZON


@pytest.mark.parametrize(
    ("load", "places"),
    [
        (0.0, 0),
        (HORIZON / 1000, 1),
        (HORIZON, 1),
        (1.001 * HORIZON, 2),
        (5 * HORIZON, 5),
    ],
)
def test_work_takes_as_many_places_as_it_has_horizons_begun(load, places):
    assert taken_by(load) == places


def test_errors_of_adding_floats_take_no_further_place():
    total = 0.0
    for _ in range(40):
        total += HORIZON / 10

    assert total != pytest.approx(4 * HORIZON, rel=0, abs=0)  # what has been added up is not exact
    assert taken_by(total) == taken_by(math.fsum([HORIZON / 10] * 40)) == 4
