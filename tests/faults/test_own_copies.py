"""Changes by one call are not seen by the next: each has its own copy of its callable and of its arguments."""

import asyncio
import itertools
from functools import partial

import pytest

from tests.shared_pools import shared
from woolexec import current_executor

from .tasks import SOON, Counter

COUNT = 20


def append(kept, n):
    kept.append(n)
    return len(kept)


def append_second(n, kept):
    return append(kept, n)


async def append_later(n, kept):
    await asyncio.sleep(0)
    return append(kept, n)


def pop(kept, path=None):
    value = kept.pop("value")
    if path is not None and not (path / str(value)).exists():
        (path / str(value)).touch()
        raise OSError(value)
    return value


def map_here(fn):
    return list(current_executor().map(fn, range(COUNT)))


CALLABLES = {
    "bound method": Counter().add,
    "callable object": Counter(),
    "partial": partial(append, []),
    "coroutine method": Counter().add_later,
}


@pytest.fixture
def lone(shared_pools):
    with shared(1) as pool:
        return pool


@pytest.mark.parametrize("fn", CALLABLES.values(), ids=CALLABLES)
def test_each_call_has_its_own_copy_of_the_state_of_its_callable(lone, fn):
    assert [future.result(SOON) for future in [lone.submit(fn, n) for n in range(COUNT)]] == [1] * COUNT
    assert list(lone.map(fn, range(COUNT), timeout=SOON)) == [1] * COUNT
    assert list(lone.map(fn, range(COUNT), timeout=SOON, buffersize=3)) == [1] * COUNT
    assert lone.submit(map_here, fn).result(SOON) == [1] * COUNT


def test_each_stream_has_its_own_copy_of_the_state_of_its_generator(lone):
    fn = Counter().yield_added
    assert [list(stream) for stream in lone.map(fn, range(COUNT), timeout=SOON)] == [[1]] * COUNT


@pytest.mark.parametrize("fn", [append_second, append_later])
def test_items_of_a_map_that_share_an_object_have_copies_of_it(lone, fn):
    assert list(lone.map(fn, range(COUNT), itertools.repeat([]), timeout=SOON)) == [1] * COUNT
    assert list(lone.map(pop, [{"value": n, "kept": CALLABLES} for n in range(COUNT)])) == list(range(COUNT))


def test_asynchronous_maps_have_them_too(lone):
    async def collect(*what):
        return [each async for each in lone.map_async(*what)]

    assert asyncio.run(collect(Counter().add, range(COUNT))) == [1] * COUNT
    assert asyncio.run(collect(append_second, range(COUNT), [[]] * COUNT)) == [1] * COUNT


def test_items_of_a_chunk_of_a_given_size_share_as_in_the_standard_library(lone):
    assert list(lone.map(Counter().add, range(6), chunksize=3, timeout=SOON)) == [1, 2, 3] * 2
    assert list(lone.map(append_second, range(6), itertools.repeat([]), chunksize=3)) == [1, 2, 3] * 2


@pytest.mark.parametrize("chunksize", [None, 1])
def test_item_of_a_map_is_started_again_after_the_exceptions_of_retry_on_with_a_new_copy(lone, tmp_path, chunksize):
    view = lone.with_options(retries=1, retry_on=OSError)
    items = [{"value": n} for n in range(COUNT)]

    assert list(view.map(pop, items, [tmp_path] * COUNT, chunksize=chunksize)) == list(range(COUNT))


def pop_later(kept, path):
    async def run():
        return pop(kept, path)

    return run()


async def pop_async(kept, path):
    return pop(kept, path)


@pytest.mark.parametrize("fn", [pop_async, pop_later])
def test_coroutine_of_an_item_is_started_again_too(lone, tmp_path, fn):
    view = lone.with_options(retries=1, retry_on=OSError)
    items = [{"value": n} for n in range(COUNT)]

    assert list(view.map(fn, items, [tmp_path] * COUNT)) == list(range(COUNT))


RESULTS = []


def collect(n):
    RESULTS.append(n)
    return RESULTS


def collect_later(n):
    async def run():
        return collect(n)

    return run()


@pytest.mark.parametrize("fn", [collect, collect_later])
def test_result_of_an_item_is_what_it_was_when_the_item_ended(lone, fn):
    lone.submit(RESULTS.clear).result(SOON)
    counts = [len(result) for result in lone.map(fn, range(COUNT), timeout=SOON)]

    assert counts == list(range(counts[0], counts[0] + COUNT))
