"""Arguments with futures, and the values that are put in their place; without workers."""

import asyncio
import concurrent.futures
import pickle
from functools import partial

import pytest

from woolexec.futures.call_future import CallFuture
from woolexec.wire.inputs import FutureMetError, Unbound, bind, call_first, is_future_class, value_of
from woolexec.wire.payload import File
from woolexec.wire.pickling import dumps, dumps_arguments, dumps_call, dumps_value, is_for_all
from woolexec.wire.restricted import AllowList
from woolexec.wire.unpickling import loads, restrict

LARGE = b"x" * 300_000


def arguments(*args, **kwargs):
    unbound = dumps_call(args, kwargs)
    assert isinstance(unbound, Unbound)
    return unbound


def called_with(unbound, *values):
    return loads(bind(unbound, [dumps_value(value) for value in values]))


def test_arguments_without_futures_are_pickled_as_ever():
    assert not isinstance(dumps_call((1, [2]), {"c": 3}), Unbound)


@pytest.mark.parametrize("make", [CallFuture, concurrent.futures.Future])
def test_future_at_any_depth_is_its_value(make):
    one, other = make(), make()
    unbound = arguments(one, [{"a": (other,)}], key={"b": one})
    assert unbound.inputs == [one, other]
    assert called_with(unbound, 1, "two") == ((1, [{"a": ("two",)}]), {"key": {"b": 1}})


def test_future_of_asyncio_is_its_value():
    loop = asyncio.new_event_loop()
    try:
        future = loop.create_future()
        unbound = arguments([future])
        assert unbound.inputs == [future]
        assert called_with(unbound, 5) == (([5],), {})
    finally:
        loop.close()


def test_future_that_occurs_twice_is_one_object_and_one_input():
    future = CallFuture()
    unbound = arguments(future, [future])
    assert unbound.inputs == [future]
    (one, [other]), _ = called_with(unbound, [1, 2])
    assert one is other


@pytest.mark.parametrize(
    "value", [None, 3, "text", b"b", b"m" * 50_000, LARGE, {"large": LARGE, "b": bytearray(LARGE)}]
)
@pytest.mark.parametrize("beside", [(), (b"m" * 50_000,), (LARGE,)])
def test_values_of_any_size_arrive_beside_arguments_of_any_size(value, beside):
    (first, *rest), _ = called_with(arguments(CallFuture(), *beside), value)
    assert first == value
    assert type(first) is type(value)
    assert tuple(rest) == beside


def test_large_values_travel_as_a_memory_file():
    payload = bind(arguments(CallFuture()), [dumps_value(LARGE)])
    assert isinstance(payload, File)


def test_arrays_among_the_values_are_writable():
    np = pytest.importorskip("numpy")
    (array,), _ = called_with(arguments(CallFuture()), np.zeros(100_000))
    array[0] = 1


def test_function_that_names_its_own_module_travels_beside_a_future():
    unbound = arguments(CallFuture(), test_future_that_occurs_twice_is_one_object_and_one_input)
    assert called_with(unbound, 1)[0][1] is test_future_that_occurs_twice_is_one_object_and_one_input


def test_lambda_travels_beside_a_future():
    (fn, value), _ = called_with(arguments(lambda x: x + 1, CallFuture()), 1)
    assert fn(value) == 2


def test_value_that_cannot_be_unpickled_has_a_note():
    unbound = arguments(CallFuture(), CallFuture())
    with pytest.raises(pickle.UnpicklingError) as caught:
        loads(bind(unbound, [dumps_value(1), b"no pickle"]))
    assert "number 2" in caught.value.__notes__[0]


@pytest.mark.parametrize("how", [{}, {"is_outcome": True}, {"is_function": True}])
def test_future_is_its_value_among_arguments_only(how):
    for pickling in (pickle.dumps, partial(dumps, **how)):
        with pytest.raises(FutureMetError, match=r"result\(\)"):
            pickling([CallFuture()])


def test_value_is_there_only_while_its_call_is_unpickled():
    with pytest.raises(pickle.UnpicklingError):
        value_of(0)
    called_with(arguments(CallFuture()), 1)
    with pytest.raises(pickle.UnpicklingError):
        value_of(0)


def test_call_within_the_arguments_of_another_has_values_of_its_own():
    inner = bind(arguments(CallFuture()), [dumps_value("inner")])

    class Opens:
        def __reduce__(self):
            return loads, (inner,)

    one, other = CallFuture(), CallFuture()
    assert called_with(arguments(one, Opens(), other), 1, 2) == ((1, (("inner",), {}), 2), {})


@pytest.fixture
def restricted():
    from woolexec.wire import unpickling

    before = unpickling.load, unpickling.check_function
    yield lambda allowed: restrict(allowed.load, allowed.check)
    restrict(*before)


def test_peer_with_a_list_checks_values_and_arguments_alike(restricted):
    good, bad = bind(arguments(CallFuture()), [dumps_value([1])]), bind(arguments(CallFuture()), [pickle.dumps(print)])
    restricted(AllowList(["operator:add"]))
    assert loads(good) == (([1],), {})
    with pytest.raises(pickle.UnpicklingError, match="on this peer's list"):
        loads(bad)


@pytest.mark.parametrize(
    ("payload", "expected"),
    [(b"__main__\x93", False), (b"__main__", True), (pickle.dumps([1, "a"]), True), (pickle.dumps(pickle.dumps), True)],
)
def test_result_is_for_all_if_it_names_nothing_of_the_script(payload, expected):
    assert is_for_all(payload) is expected


def test_classes_of_futures_are_known():
    assert is_future_class(CallFuture)
    assert is_future_class(concurrent.futures.Future)
    assert is_future_class(asyncio.Future)
    assert is_future_class(asyncio.Task)
    assert not is_future_class(dict)


def test_first_argument_is_called():
    assert call_first(max, 1, 3, key=lambda x: -x) == 1


def test_futures_are_those_of_the_last_attempt_to_pickle():
    future = CallFuture()
    unbound = dumps_arguments((lambda: 1, future, future), ("", ""))
    assert list(map(id, unbound.inputs)) == [id(future)]
