import pytest

from woolexec.core.batching import LEAST, PICKLE_ITEMS, PICKLE_SIZE, SINGLE, SPAN, next_pickle, span_size


def test_one_item_is_sent_to_find_out_how_long_it_takes():
    assert span_size(None, 1000, 5, 2) == 1


def test_long_items_travel_alone():
    assert span_size(SINGLE * 1.01, 1000, 5, 2) == 1


def test_short_items_fill_a_span():
    assert span_size(SPAN / 100, 1000, 50, 2) == 100


def test_items_that_take_no_time_all_go_together():
    assert span_size(0.0, 1000, 50, 2) == 1000


def test_span_never_takes_more_than_there_is():
    assert span_size(SPAN / 100, 7, 50, 2) == 7


@pytest.mark.parametrize("places", [1, 2, 4, 8])
def test_near_the_end_something_is_left_for_everybody(places):
    count = span_size(SPAN / 20, 100, 1, places)

    assert count <= -(-100 // (2 * places))


def test_near_the_end_no_span_becomes_shorter_than_pays():
    assert span_size(LEAST / 50, 100, 1, 8) == 50


@pytest.mark.parametrize("seconds", [None, 0.0, 1e-9, 1e-5, 1.0])
@pytest.mark.parametrize("left", [1, 2, 1000])
def test_span_has_at_least_one_item(seconds, left):
    for queued in (1, 3, 100):
        assert 1 <= span_size(seconds, left, queued, 4) <= left


def test_pickles_grow_while_they_are_small():
    sizes, items = [], 16
    for _ in range(10):
        items = next_pickle(items, items * 5)
        sizes.append(items)

    assert sizes == sorted(sizes)
    assert sizes[-1] <= PICKLE_ITEMS


def test_pickles_keep_their_size_when_it_is_right_and_shrink_when_it_is_too_much():
    assert next_pickle(100, PICKLE_SIZE // 2) == 100
    assert next_pickle(100, PICKLE_SIZE) == 50
    assert next_pickle(1, PICKLE_SIZE * 100) == 1
