"""The settings that are collected from this process; each test changes and restores them."""

import copyreg
import csv
import decimal
import enum
import io
import logging
import os
import pickle
import socket
import sys
import warnings
from types import SimpleNamespace

import pytest

from woolexec.engine import settings as collecting
from woolexec.engine.settings import LIMIT, settings, settings_for_peers, settings_of_process, settings_of_user
from woolexec.wire.unpickling import loads
from woolexec.worker import settings as applying


class Weight:
    pass


class Length:
    pass


class Careful(UserWarning):
    pass


def reduce_own(_):
    return Weight, ()


def reduce_foreign(_):
    return Length, ()


reduce_foreign.__module__ = "another.package"


@pytest.fixture
def reducers(monkeypatch):
    """An empty table of registered reducers."""
    monkeypatch.setattr(copyreg, "dispatch_table", {})


def test_setting_is_collected_once_it_differs_from_a_fresh_interpreters(monkeypatch):
    limit, timeout = csv.field_size_limit(), socket.getdefaulttimeout()
    before = settings()
    try:
        csv.field_size_limit(5)
        socket.setdefaulttimeout(2.5)
        after = settings()
    finally:
        csv.field_size_limit(limit)
        socket.setdefaulttimeout(timeout)

    assert "csv" not in before
    assert "socket" not in before
    assert (after["csv"], after["socket"]) == (5, 2.5)


def test_nothing_is_collected_of_modules_that_the_program_has_not_imported(monkeypatch):
    monkeypatch.setattr(collecting, "imported", lambda _: None)

    assert set(settings()) <= {"recursion", "digits", "nice", "affinity", "limits"}
    assert set(settings_of_user()) <= {"reducers"}


def test_setting_that_cannot_be_read_leaves_the_others(monkeypatch):
    def changing():
        raise RuntimeError("dictionary changed size during iteration")

    monkeypatch.setattr(collecting, "_OF_THE_PROGRAM", {"levels": changing, "socket": lambda: 1.0})
    monkeypatch.setattr(collecting, "_OF_THE_PROCESS", {"nice": changing, "affinity": lambda: None})

    found = settings()

    assert found.keys() == {"recursion", "digits", "socket"}


def test_settings_are_pickled_with_builtins_alone():
    class Builtins(pickle.Unpickler):
        def find_class(self, module, name):
            raise AssertionError(f"{module}.{name}")

    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="care[f]ul", category=Careful)
        found = settings()

    assert ("error", ("care[f]ul", 34), (__name__, "Careful"), None, 0) in found["warnings"]
    assert Builtins(io.BytesIO(pickle.dumps(found, 5))).load() == found


# -- for peers --------------------------------------------------------------------------------------------------------


@pytest.fixture
def of_program(monkeypatch):
    """What is collected of this program."""
    found = {}
    collect = collecting._collect
    programs = collecting._OF_THE_PROGRAM
    monkeypatch.setattr(collecting, "_collect", lambda table: found.copy() if table is programs else collect(table))
    monkeypatch.setattr(collecting, "_RECURSION", sys.getrecursionlimit())
    monkeypatch.setattr(collecting.sys, "get_int_max_str_digits", lambda: sys.int_info.default_max_str_digits)
    return found


def test_nothing_is_sent_to_peers_that_a_fresh_interpreter_has(of_program):
    assert settings_for_peers({}) == b""
    of_program["levels"] = {"": logging.WARNING}
    assert settings_for_peers({"environment": {"A": "b"}}) == b""


def test_what_differs_is_sent_to_peers(of_program, monkeypatch):
    monkeypatch.setattr(collecting, "_RECURSION", sys.getrecursionlimit() - 1)
    monkeypatch.setattr(collecting.sys, "get_int_max_str_digits", lambda: 5000)
    of_program.update(csv=5, levels={"": logging.WARNING, "a": 10})
    wanted = {"recursion": sys.getrecursionlimit(), "digits": 5000, "logger_class": b"class", **of_program}
    assert pickle.loads(settings_for_peers({"logger_class": b"class"})) == wanted


def test_what_is_too_large_for_peers_is_left_out_with_a_warning(of_program, caplog):
    of_program["csv"] = 5
    assert pickle.loads(settings_for_peers({"logger_class": bytes(LIMIT)})) == {"csv": 5}
    assert "too large to be sent to peers" in caplog.text


def test_peer_gives_workers_nothing_of_its_program():
    assert not settings_of_process().keys() & collecting._OF_THE_PROGRAM.keys()


class Level(enum.IntEnum):
    """Only the program has this class."""

    VERBOSE = 15


def test_levels_are_numbers_whatever_they_are_to_the_program(monkeypatch):
    before = settings().get("level_names") or {}  # other tests import what names levels
    monkeypatch.setattr(logging, "_levelToName", {**logging._levelToName, Level.VERBOSE: "VERBOSE"})
    logger = logging.getLogger("tests.settings.levels")
    logger.setLevel(Level.VERBOSE)
    try:
        found = settings()
    finally:
        logger.setLevel(logging.NOTSET)
    assert found["level_names"] == {**before, 15: "VERBOSE"}
    assert {type(level) for level in (*found["level_names"], *found["levels"].values())} == {int}


# -- each -------------------------------------------------------------------------------------------------------------


def test_filters_of_a_fresh_interpreter_are_not_collected(monkeypatch):
    monkeypatch.setattr(warnings, "filters", FILTERS[:])
    assert "warnings" not in settings()

    warnings.filters.append(("error", None, UserWarning, None, 0))
    assert settings()["warnings"][-1] == ("error", None, ("builtins", "UserWarning"), None, 0)


FILTERS = [
    ("default", None, DeprecationWarning, "__main__", 0),
    *(("ignore", None, cls, None, 0) for cls in (DeprecationWarning, PendingDeprecationWarning)),
    *(("ignore", None, cls, None, 0) for cls in (ImportWarning, ResourceWarning)),
]
"""The filters that Python's documentation says are there by default."""


@pytest.fixture
def modules(monkeypatch):
    """The modules that the program has imported: those that a test puts here."""
    found = {}
    monkeypatch.setattr(collecting, "imported", found.get)
    return found


class Locale:
    """A module `locale` on a host that has three categories."""

    LC_CTYPE, LC_TIME, LC_NUMERIC = range(3)

    def __init__(self, *current):
        self.current = current

    def setlocale(self, category):
        return self.current[category]


@pytest.mark.parametrize(
    ("current", "is_fresh"),
    [
        (("en_US.UTF-8", "C", "C"), True),
        (("en_US.UTF-8", "de_DE", "C"), False),
        (("fr_FR.ISO8859-1", "C", "C"), False),
    ],
)
@pytest.mark.parametrize("of_environment", ["LC_ALL", "LC_CTYPE", "LANG"])
def test_locale_is_collected_if_the_program_has_set_one(modules, monkeypatch, current, is_fresh, of_environment):
    modules["locale"] = Locale(*current)
    for name in ("LC_ALL", "LC_CTYPE", "LANG"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv(of_environment, "en_US.UTF-8")

    found = None if is_fresh else dict(zip(("LC_CTYPE", "LC_TIME", "LC_NUMERIC"), current, strict=True))
    assert settings().get("locale") == found


def test_level_that_logging_disables_is_collected(modules):
    modules["logging"] = logging
    assert "disabled" not in settings()
    before = logging.root.manager.disable
    logging.disable(5)
    try:
        assert settings()["disabled"] == 5
    finally:
        logging.disable(before)


def test_identity_in_multiprocessing_is_collected(modules):
    here = SimpleNamespace(name="Caller-2", _identity=[2])
    modules["multiprocessing.process"] = SimpleNamespace(current_process=lambda: here)

    assert settings()["process"] == ("Caller-2", (2,), os.getpid())


def test_coverage_is_collected_if_it_measures_children_of_multiprocessing(modules, monkeypatch):
    monkeypatch.setenv("COVERAGE_RCFILE", "rc")
    patched, plain = SimpleNamespace(**{"_coverage$patched": True}), SimpleNamespace()
    found = []
    for coverage, multiprocessing in ((object(), patched), (object(), plain), (None, patched)):
        modules.update({"coverage.multiproc": coverage, "multiprocessing": multiprocessing})
        found.append(settings().get("coverage"))

    assert found == ["rc", None, None]


@pytest.mark.parametrize(("cpus", "found"), [({2, 5}, [2, 5]), (None, None)])
def test_processors_of_the_process_are_collected_where_there_is_such_a_thing(monkeypatch, cpus, found):
    monkeypatch.setattr(collecting, "affinity", lambda _: cpus)

    assert settings().get("affinity") == (None if found is None else tuple(found))


def test_levels_of_loggers_are_collected_and_of_those_that_have_one_only():
    loud, quiet = logging.getLogger("a.loud"), logging.getLogger("a.quiet")
    quiet.setLevel("ERROR")
    logging.addLevelName(15, "VERBOSE")
    try:
        found = settings()
    finally:
        quiet.setLevel(logging.NOTSET)
        del logging._levelToName[15], logging._nameToLevel["VERBOSE"]

    assert loud.level == logging.NOTSET
    assert found["levels"]["a.quiet"] == logging.ERROR
    assert "a.loud" not in found["levels"]
    assert found["levels"][""] == logging.getLogger().level
    assert found["level_names"][15] == "VERBOSE"
    assert 30 not in found["level_names"]


def test_class_of_loggers_is_collected_if_it_is_the_programs_own():
    class Loud(logging.Logger):
        pass

    before = logging.getLoggerClass()
    try:
        logging.setLoggerClass(logging.Logger)
        assert "logger_class" not in settings_of_user()
        logging.setLoggerClass(Loud)
        assert loads(settings_of_user()["logger_class"]).__name__ == "Loud"
    finally:
        logging.setLoggerClass(before)


def test_context_of_decimal_is_that_of_the_thread_or_else_the_default():
    default = decimal.DefaultContext
    with decimal.localcontext(decimal.Context(28, decimal.ROUND_HALF_EVEN, -999999, 999999, 1, 0, [], TRAPS)):
        assert "decimal" not in settings_of_user()
        default.prec = 40
        try:
            assert settings_of_user()["decimal"][0] == 40
            decimal.getcontext().traps[decimal.Inexact] = True
            found = settings_of_user()["decimal"]
        finally:
            default.prec = 28

    assert found[0] == 28
    assert set(found[-1]) == {"InvalidOperation", "DivisionByZero", "Overflow", "Inexact"}


TRAPS = [decimal.InvalidOperation, decimal.DivisionByZero, decimal.Overflow]


def test_reducers_of_other_packages_are_collected_and_those_of_the_class_itself_are_not(reducers):
    copyreg.pickle(Weight, reduce_own)
    assert "reducers" not in settings_of_user()

    copyreg.pickle(Length, reduce_foreign)
    [(module, name, payload)] = settings_of_user()["reducers"]

    assert (module, name) == (__name__, "Length")
    assert loads(payload)[0] is Length


def test_reducer_that_cannot_be_pickled_leaves_the_others(reducers):
    class Raises:
        __module__ = "another.package"

        def __call__(self, _):
            return Weight, ()

        def __reduce__(self):
            raise LookupError("odd")

    copyreg.pickle(Weight, Raises())
    copyreg.pickle(Length, reduce_foreign)

    assert [name for _, name, _ in settings_of_user()["reducers"]] == ["Length"]


def test_worker_of_a_peer_takes_just_the_settings_that_clients_send():
    of_clients = {"recursion", "digits", *collecting._OF_THE_PROGRAM, *collecting._OF_THE_USER}
    assert of_clients == applying._OF_CLIENT
