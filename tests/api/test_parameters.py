import json
from pathlib import Path

import pytest

from woolexec.api import parameters
from woolexec.api.parameters import (
    check_credentials,
    check_placement,
    first_call,
    links_to,
    modules_of,
    setup_of,
    worker_limit,
)
from woolexec.core.policies import LeastOutstanding
from woolexec.mesh.security.credentials import Credentials
from woolexec.wire.unpickling import loads

TOKEN = Credentials.with_new_token()

steps = []


def note(*args):
    steps.append(args)


def start():
    steps.append("start")


@pytest.mark.parametrize(
    ("given", "has_peers", "limit"),
    [(None, False, 3), (None, True, 0), (0, True, 0), (5, False, 5), (5, True, 5)],
)
def test_workers_are_as_many_as_processors_unless_there_are_peers(monkeypatch, given, has_peers, limit):
    monkeypatch.setattr(parameters, "usable_cpus", lambda: 3)

    assert worker_limit(given, has_peers=has_peers) == limit


@pytest.mark.parametrize(
    ("given", "has_peers", "error"),
    [(0, False, ValueError), (-1, True, ValueError), (True, False, TypeError), (1.0, False, TypeError)],
)
def test_wrong_number_of_workers_is_refused(given, has_peers, error):
    with pytest.raises(error, match="max_workers must be"):
        worker_limit(given, has_peers=has_peers)


def test_placement_is_an_object_that_can_choose():
    check_placement(None)
    check_placement(LeastOutstanding())
    with pytest.raises(TypeError, match=r"not a class: LeastOutstanding\(\)"):
        check_placement(LeastOutstanding)
    with pytest.raises(TypeError, match="methods of a Placement"):
        check_placement("least")


# -- what workers run first -------------------------------------------------------------------------------------------


def run(first):
    steps.clear()
    function, args = loads(first)
    function(*args)
    return list(steps)


def test_workers_run_nothing_first_unless_asked_to():
    assert first_call(None, None, ()) is None


def test_workers_run_the_initializer_with_its_arguments():
    assert run(first_call(None, note, iter([1, 2]))) == [(1, 2)]


def test_workers_run_on_worker_start_before_the_initializer():
    assert run(first_call(start, None, ())) == ["start"]
    assert run(first_call(start, note, [1])) == ["start", (1,)]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((None, 1, ()), "initializer must be a callable or None"),
        ((None, note, 5), "initargs must be a tuple of arguments"),
        ((None, note, None), "initargs must be a tuple of arguments"),
        ((1, None, ()), "on_worker_start must be a function"),
        ((1, note, ()), "on_worker_start must be a function"),
    ],
)
def test_wrong_first_functions_are_refused(arguments, message):
    with pytest.raises(TypeError, match=message):
        first_call(*arguments)


def test_what_pickling_the_initializer_raises_is_raised():
    with pytest.raises(TypeError, match="generator") as raised:
        first_call(None, note, ((n for n in ()),))

    assert any("initargs" in each for each in raised.value.__notes__)


# -- peers ------------------------------------------------------------------------------------------------------------


def test_wrong_credentials_are_refused_and_not_shown():
    check_credentials(None)
    check_credentials(TOKEN)
    with pytest.raises(TypeError) as raised:
        check_credentials("a secret token")

    assert str(raised.value) == "credentials must be a Credentials or None, not str"


def test_one_module_may_be_shipped_without_a_list():
    for one in (json, "json", Path("json.py")):
        assert modules_of(one) == [one]
    assert modules_of(iter([json, "csv"])) == [json, "csv"]
    with pytest.raises(TypeError, match="ship must be a module"):
        modules_of(5)


def test_executor_without_modules_and_initializer_needs_no_setup_on_its_peers():
    assert setup_of([], None, 5.0) == (None, {})


def test_setup_has_the_initializer_its_timeout_and_the_archives_of_the_modules(tmp_path):
    (tmp_path / "shipped.py").write_text("x = 1\n")
    setup, archives = setup_of([tmp_path / "shipped.py"], b"initializer", 5.0)

    [(name, digest)] = setup.code
    assert (name, [*archives]) == ("shipped", [digest])
    assert (setup.initializer, setup.timeout) == ((b"initializer",), 5.0)


def test_executors_with_the_same_initializer_have_setups_of_their_own():
    first, second = (setup_of([], b"initializer", None)[0] for _ in range(2))

    assert first.key != second.key


def test_no_peers_are_refused():
    with pytest.raises(ValueError, match="peers"):
        links_to([], TOKEN, None, None, {}.get, None)
