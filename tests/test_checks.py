"""Arguments of the wrong type raise at once, with the expected and the actual type."""

import asyncio
import math
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pytest

from woolexec import Credentials, PeerPoolExecutor, RoundRobin, current_executor
from woolexec.api.task_executor import NestedExecutor
from woolexec.checks import integer, positive_seconds, seconds, shown, size, size_text

SOON = 30
TOKEN = Credentials.with_new_token()


def numbers():
    yield 1


@pytest.fixture
def pool():
    with PeerPoolExecutor(1) as pool:
        yield pool


class Ugly:
    def __repr__(self):
        raise RuntimeError("no")


# -- the kinds ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value", [3, np.int64(3), np.uint8(3)])
def test_whatever_is_an_integer_arrives_as_an_int(value):
    assert type(integer("n", value)) is int
    assert integer("n", value) == 3


@pytest.mark.parametrize("value", [2, 2.0, np.float32(2), np.int16(2), Decimal(2), Fraction(2)])
def test_whatever_is_a_number_is_one_of_seconds(value):
    assert seconds("t", value) == 2


def test_infinitely_many_seconds_are_no_limit():
    assert seconds("t", math.inf) is None
    assert positive_seconds("t", np.float64("inf")) is None
    with pytest.raises(ValueError, match="t must be above 0 seconds"):
        positive_seconds("t", -math.inf)


def test_a_repr_is_cut_and_may_fail():
    assert len(shown("x" * 1000)) == 80
    with pytest.raises(TypeError, match=r"n must be an integer, not Ugly: <.*Ugly object"):
        integer("n", Ugly())


@pytest.mark.parametrize(
    ("given", "number"),
    [
        (1, 1),
        (np.int64(7), 7),
        ("7", 7),
        ("7 B", 7),
        ("2 GiB", 2 << 30),
        ("2GiB", 2 << 30),
        (" 1.5 gib ", 3 << 29),
        ("2 GB", 2_000_000_000),
        ("2G", 2_000_000_000),
        ("3Gi", 3 << 30),
        ("1_000 kB", 1_000_000),
        ("0.5MiB", 1 << 19),
        ("1 TiB", 1 << 40),
        (None, None),
    ],
)
def test_sizes_are_numbers_of_bytes_or_texts(given, number):
    assert size("n", given) == number


@pytest.mark.parametrize("given", ["", "GiB", "2 XB", "two", "nan", "inf GB", "1e3", "2 GiB GiB", "1.2.3 GB", "0 GB"])
def test_what_is_no_size_is_a_value_error(given):
    with pytest.raises(ValueError, match=r"^n"):
        size("n", given)


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1 KiB"),
        (1000 << 20, "1000 MiB"),
        (1023.9 * 2**20, "1024 MiB"),
        (3 << 29, "1.5 GiB"),
        (1 << 50, "1024 TiB"),
    ],
)
def test_sizes_in_messages_have_a_unit(number, text):
    assert size_text(number) == text


# -- the executor ------------------------------------------------------------------------------------------------------

WRONG = [
    ({"max_workers": "4"}, TypeError, "max_workers must be an integer or None, not str: '4'"),
    ({"max_workers": 2.5}, TypeError, "max_workers must be an integer or None, not float: 2.5"),
    ({"max_workers": True}, TypeError, "max_workers must be an integer or None, not bool: True"),
    ({"max_workers": 0}, ValueError, "max_workers must be greater than 0, not 0"),
    ({"max_workers": np.int64(-1)}, ValueError, "max_workers must be greater than 0, not -1"),
    ({"max_workers": -1, "peers": "a:1"}, ValueError, "max_workers must be greater than 0, not -1"),
    ({"initializer": 3}, TypeError, "initializer must be a callable or None, not int: 3"),
    ({"initializer": print, "initargs": 5}, TypeError, "initargs must be a tuple of arguments, not int: 5"),
    ({"initializer": print, "initargs": None}, TypeError, "initargs must be a tuple of arguments, not NoneType: None"),
    ({"initargs": 5}, TypeError, "initargs must be a tuple of arguments, not int: 5"),
    ({"initializer_timeout": "x"}, TypeError, "initializer_timeout must be a number of seconds or None, not str: 'x'"),
    ({"initializer_timeout": 0}, ValueError, "initializer_timeout must be above 0 seconds"),
    ({"initializer_timeout": math.nan}, ValueError, "initializer_timeout must be a number of seconds, not NaN"),
    ({"max_tasks_per_child": "2"}, TypeError, "max_tasks_per_child must be an integer or None, not str: '2'"),
    ({"max_tasks_per_child": True}, TypeError, "max_tasks_per_child must be an integer or None, not bool: True"),
    ({"max_tasks_per_child": 0}, ValueError, "max_tasks_per_child must be >= 1, not 0"),
    ({"max_memory_per_child": 2.5}, TypeError, "max_memory_per_child must be a number of bytes, a size such as"),
    ({"max_memory_per_child": "2 parsecs"}, ValueError, "max_memory_per_child: '2 parsecs' is not a size such as"),
    ({"memory_limit": 0}, ValueError, "memory_limit must be at least one byte, not 0"),
    ({"memory_limit": "-1 GiB"}, ValueError, "memory_limit: '-1 GiB' is not a size"),
    ({"idle_timeout": 0}, ValueError, "idle_timeout must be above 0 seconds"),
    ({"min_workers": -1}, ValueError, "min_workers must not be negative: -1"),
    ({"finalizer": 3}, TypeError, "finalizer must be a function that takes no arguments, or None, not int: 3"),
    ({"environment": ["A=1"]}, TypeError, "environment must be a mapping of names to texts, or None, not list"),
    ({"environment": {"A": 1}}, TypeError, r"environment\['A'\] must be a str, not int: 1"),
    ({"environment": {1: "A"}}, TypeError, "a name in environment must be a str, not int: 1"),
    ({"environment": {"A=B": "1"}}, ValueError, "environment: 'A=B' has an invalid name or value"),
    ({"environment": {"A": "\0"}}, ValueError, "environment: 'A' has an invalid name or value"),
    ({"max_outstanding": "9"}, TypeError, "max_outstanding must be an integer or None, not str: '9'"),
    ({"slow_after": "10"}, TypeError, "slow_after must be a number of seconds or None, not str: '10'"),
    ({"slow_after": 0}, ValueError, "slow_after must be above 0 seconds, or None for no limit, not 0"),
    ({"max_outstanding": 0}, ValueError, "max_outstanding must be >= 1, not 0"),
    ({"resources": ["gpu"]}, TypeError, "resources must be a mapping such as .*, or None, not list"),
    ({"resources": {"gpu": "2"}}, TypeError, r"resources\['gpu'\] must be a number, not str: '2'"),
    ({"resources": {"gpu": 1.5}}, ValueError, "resources: gpu must be a whole number of devices, not 1.5"),
    ({"resources": {"db": 0}}, ValueError, r"resources\['db'\] must be an amount above 0, not 0"),
    ({"resources": {"db": 1}, "peers": "a:1"}, ValueError, "resources= describes the workers on this machine"),
    ({"max_coroutines": 0.5}, TypeError, "max_coroutines must be an integer, not float: 0.5"),
    ({"max_coroutines": None}, TypeError, "max_coroutines must be an integer, not NoneType: None"),
    ({"max_coroutines": 0}, ValueError, "max_coroutines must be >= 1, not 0"),
    ({"peers": 7437}, TypeError, "peers must be an address such as 'host:7437'.*, not int: 7437"),
    ({"peers": b"a:1"}, TypeError, "peers must be .*, not bytes: b'a:1'"),
    ({"peers": {"a:1": 2}}, TypeError, "peers must be .*, not dict"),
    ({"peers": ["a:1", 7437]}, TypeError, "each of peers must be .*, not int: 7437"),
    ({"peers": []}, ValueError, "peers is empty: name at least one"),
    ({"peers": ""}, ValueError, "'' is not an address"),
    ({"peers": "a:1", "peers_timeout": "x"}, TypeError, "peers_timeout must be a number of seconds or None, not str"),
    ({"peers": "a:1", "peers_timeout": -1}, ValueError, "peers_timeout must be above 0 seconds.*, not -1"),
    ({"placement": RoundRobin}, TypeError, r"placement must be an object, not a class: RoundRobin\(\)"),
    ({"placement": "rr"}, TypeError, "placement must be an object with the methods of a Placement, or None, not str"),
    ({"ship": 3}, TypeError, "ship must be a module, its name or path, or several of these, not int: 3"),
    ({"peers": "a:1", "ship": [3]}, TypeError, "each of ship must be a module, its name, or the path .*, not int: 3"),
    ({"peers": "a:1", "ship": "no_such_module"}, ValueError, "ship: there is no module 'no_such_module' here"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), WRONG, ids=[str(arguments) for arguments, _, _ in WRONG])
def test_an_executor_says_what_it_expected(arguments, error, message):
    if "peers" in arguments:
        arguments = {"credentials": TOKEN, **arguments}
    with pytest.raises(error, match=f"^{message}"):
        PeerPoolExecutor(**arguments)


@pytest.mark.parametrize("peers", [None, "a:1"])
def test_a_secret_in_the_wrong_place_is_not_shown(peers):
    with pytest.raises(TypeError, match=r"^credentials must be a Credentials or None, not str$"):
        PeerPoolExecutor(1, peers=peers, credentials="hunter2")
    with pytest.raises(TypeError, match=r"^token must be bytes or None, not str$"):
        Credentials("hunter2")
    with pytest.raises(TypeError, match=r"^tls must be .*, not int: 3$"):
        Credentials(tls=3)


def test_integers_of_numpy_are_taken():
    arguments = {
        "max_tasks_per_child": np.int64(9),
        "max_coroutines": np.int32(9),
        "initializer_timeout": np.float32(9),
    }
    with PeerPoolExecutor(np.int64(2), initargs=None, **arguments) as pool:
        assert pool._max_workers == 2
        view = pool.with_options(timeout=np.float32(60), retries=np.int8(1), priority=np.int16(3), require={})
        assert view.submit(abs, -1).result(SOON) == 1


def test_one_module_may_be_shipped_without_a_list(tmp_path):
    (tmp_path / "lonely.py").touch()
    for ship in ("json", tmp_path / "lonely.py", pytest):
        PeerPoolExecutor(1, ship=ship).shutdown()
    with pytest.raises(ValueError, match="peers already have 'json'"):
        PeerPoolExecutor(peers="a:1", credentials=TOKEN, ship="json")


# -- what tasks ask for ------------------------------------------------------------------------------------------------

OPTIONS = [
    ({"timeout": "3"}, TypeError, "timeout must be a number of seconds or None, not str: '3'"),
    ({"timeout": True}, TypeError, "timeout must be a number of seconds or None, not bool: True"),
    ({"timeout": -1}, ValueError, "timeout must be above 0 seconds, or None for no limit, not -1"),
    ({"timeout": math.nan}, ValueError, "timeout must be a number of seconds, not NaN"),
    ({"retries": "1"}, TypeError, "retries must be an integer, not str: '1'"),
    ({"retries": -1}, ValueError, "retries must not be negative: -1"),
    ({"retries": 1, "retry_on": "OSError"}, TypeError, "retry_on must be an exception class.*, not str: 'OSError'"),
    ({"retries": 1, "retry_on": ["OSError"]}, TypeError, "retry_on must be an exception class.*, not str: 'OSError'"),
    ({"retries": 1, "retry_on": OSError()}, TypeError, "retry_on must be an exception class.*, not OSError"),
    ({"retries": 1, "retry_on": 5}, TypeError, "retry_on must be an exception class.*, not int: 5"),
    ({"retries": 1, "retry_on": int}, TypeError, "retry_on must be an exception class.*, not the class int"),
    ({"retry_on": OSError}, ValueError, "retry_on=<class 'OSError'> has no effect without retries: add retries=1"),
    ({"require": "gpu"}, TypeError, "require must be a mapping such as .*, not str: 'gpu'"),
    ({"require": ["gpu"]}, TypeError, r"require must be a mapping such as .*, not list: \['gpu'\]"),
    ({"require": ""}, TypeError, "require must be a mapping such as .*, not str: ''"),
    ({"require": {3: 1}}, TypeError, "a key of require must be a str, not int: 3"),
    ({"require": {"gpu": None}}, TypeError, r"require\['gpu'\] must be a number .*, not NoneType: None"),
    ({"require": {"gpu": math.nan}}, ValueError, r"require\['gpu'\] must be an amount above 0, not nan"),
    ({"priority": "high"}, TypeError, "priority must be an integer, not str: 'high'"),
    ({"priority": 1.5}, TypeError, "priority must be an integer, not float: 1.5"),
    ({"near": 3}, TypeError, "near must be a str or a future of a PeerPoolExecutor, not int: 3"),
    ({"name": 3}, TypeError, "name must be a str or None, not int: 3"),
    ({"backend": "curio"}, ValueError, "backend must be 'asyncio', 'trio' or None, not 'curio'"),
    ({"backend": []}, TypeError, r"backend must be 'asyncio', 'trio' or None, not list: \[\]"),
]


def refusal(options):
    try:
        current_executor().with_options(**options)
    except Exception as exc:
        return type(exc), str(exc)


@pytest.mark.parametrize(("options", "error", "message"), OPTIONS, ids=[str(options) for options, _, _ in OPTIONS])
def test_options_say_what_they_expected(pool, options, error, message):
    with pytest.raises(error, match=f"^{message}"):
        pool.with_options(**options)


def test_options_say_the_same_in_a_task(pool):
    with pool:
        here = [refusal(options) for options, _, _ in OPTIONS]
    with PeerPoolExecutor(1) as other:
        assert list(other.map(refusal, [options for options, _, _ in OPTIONS])) == here
    assert [error for error, _ in here] == [error for _, error, _ in OPTIONS]


@pytest.mark.parametrize(
    ("prefetch", "error", "message"),
    [
        ("x", TypeError, "prefetch must be an integer, not str: 'x'"),
        (2.5, TypeError, "prefetch must be an integer, not float: 2.5"),
        (-1, ValueError, "prefetch must not be negative: -1"),
    ],
)
def test_prefetch_is_checked_when_it_is_given(pool, prefetch, error, message):
    with pytest.raises(error, match=message):
        pool.stream(numbers, prefetch=prefetch)


MAPS = [
    ({"timeout": "3"}, TypeError, "timeout must be a number of seconds or None, not str: '3'"),
    ({"timeout": math.nan}, ValueError, "timeout must be a number of seconds, not NaN"),
    ({"chunksize": 2.5}, TypeError, "chunksize must be an integer or None, not float: 2.5"),
    ({"chunksize": 0}, ValueError, "chunksize must be >= 1, not 0"),
    ({"buffersize": "2"}, TypeError, "buffersize must be an integer or None, not str: '2'"),
    ({"buffersize": 0}, ValueError, "buffersize must be None or > 0, not 0"),
]


@pytest.mark.parametrize(("arguments", "error", "message"), MAPS, ids=[str(arguments) for arguments, _, _ in MAPS])
def test_maps_say_what_they_expected_before_they_read_anything(pool, arguments, error, message):
    items = iter([1])
    for make in (pool.map, pool.map_async, NestedExecutor().map, NestedExecutor().map_async):
        with pytest.raises(error, match=f"^{message}"):
            make(abs, items, **arguments)
    assert list(items) == [1]


def test_maps_take_the_integers_of_numpy_and_endless_time(pool):
    sizes = {"chunksize": np.int64(2), "buffersize": np.int64(2)}
    assert list(pool.map(abs, [-1, -2, -3], timeout=math.inf, **sizes)) == [1, 2, 3]

    async def main():
        return [n async for n in pool.map_async(abs, [-1, -2, -3], timeout=math.inf, **sizes)]

    assert asyncio.run(main()) == [1, 2, 3]


# -- what is run -------------------------------------------------------------------------------------------------------


def test_what_cannot_be_called_fails_where_the_standard_librarys_pool_fails(pool):
    for future in (pool.submit(5), pool.submit(None)):
        assert "object is not callable" in str(future.exception(SOON))
    with pytest.raises(TypeError, match="'int' object is not callable"):
        list(pool.map(5, [1]))
    with pytest.raises(TypeError, match="'int' object is not callable"):
        asyncio.run(pool.run(5))
    with pytest.raises(TypeError, match="'int' object is not iterable"):
        pool.map(abs, 5)
    for method in (pool.submit, pool.map, pool.stream, pool.run_on_all):
        with pytest.raises(TypeError, match="'fn'"):
            method()


def test_generators_run_only_where_they_can_be_pulled(pool):
    with pytest.raises(TypeError, match="run_on_all takes no generator functions: numbers"):
        pool.run_on_all(numbers)
    with pytest.raises(TypeError, match="abs is not a generator function"), pool.stream(abs, 1):
        pass


def test_a_pool_without_peers_says_so_and_counts_them_in_integers(pool):
    with pytest.raises(ValueError, match="without peers="):
        pool.wait_for_peers()
    with PeerPoolExecutor(peers="127.0.0.1:1", credentials=TOKEN) as other:
        with pytest.raises(TypeError, match="count must be an integer, not str: '2'"):
            other.wait_for_peers("2")
        with pytest.raises(TypeError, match="timeout must be a number of seconds or None, not str: 'x'"):
            other.wait_for_peers(1, "x")


def test_number_that_no_float_holds_is_no_number_of_seconds():
    for value in (10**400, -(10**400)):
        with pytest.raises(ValueError, match="timeout must be a number of seconds"):
            seconds("timeout", value)
