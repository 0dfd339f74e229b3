"""Each setting is applied in this process, and undone; tests/faults checks that the caller's settings are applied."""

import _warnings
import copyreg
import csv
import decimal
import os
import re
import socket
import sys
import threading
import warnings
from types import SimpleNamespace

import pytest

from woolexec.engine import settings as collecting
from woolexec.wire.pickling import dumps_inline
from woolexec.worker import import_hooks, settings


class Careful(UserWarning):
    pass


class Weight:
    pass


def reduce_weight(_):
    return Weight, ()


@pytest.fixture
def filters(monkeypatch):
    """The filters of the interpreter, which are restored; pytest replaces them by a copy."""
    ours = _warnings.filters
    kept = ours[:]
    monkeypatch.setattr(warnings, "filters", ours)
    yield ours
    ours[:] = kept


def fresh(**more):
    return {"recursion": sys.getrecursionlimit(), "digits": sys.get_int_max_str_digits(), **more}


@pytest.fixture
def waiting(monkeypatch):
    """What is to be done when a module is imported, which none is."""
    found = {}
    monkeypatch.setattr(import_hooks, "when_imported", lambda name, act: found.setdefault(name, []).append(act))
    return found


# -- when -------------------------------------------------------------------------------------------------------------


def test_settings_of_a_module_wait_for_its_import(waiting):
    context = 28, decimal.ROUND_HALF_EVEN, -9, 9, 1, 0, ()
    reducers = [(__name__, "Weight", b""), ("__main__", "Odd", b"")]

    settings.apply(fresh(csv=5, socket=2.5, decimal=context, reducers=reducers, logger_class=b""), 1, -1)

    assert sorted(waiting) == [
        "_csv",
        "cloudpickle.cloudpickle",  # loads what is pickled by value
        "decimal",
        "logging",
        "multiprocessing.process",
        "socket",
        __name__,
    ]
    assert len(waiting["cloudpickle.cloudpickle"]) == 2


def test_class_of_loggers_is_set_when_it_can_be_loaded(waiting, monkeypatch):
    logging = Logging()
    monkeypatch.setitem(sys.modules, "logging", logging)
    settings.apply(fresh(), 1, -1)
    assert "cloudpickle.cloudpickle" not in waiting

    settings.apply(fresh(logger_class=dumps_inline(Weight)), 1, -1)
    [act] = waiting["cloudpickle.cloudpickle"]
    act(None)

    assert logging.done == [("setLoggerClass", Weight)]


def test_setting_that_is_not_permitted_leaves_the_others(waiting, monkeypatch):
    done = []

    def refuse(_):
        raise PermissionError("not here")

    monkeypatch.setattr(settings, "_ACTS", {"nice": refuse, "csv": done.append})

    settings.apply(fresh(nice=-20, csv=5), 1, -1)

    assert done == [5]


def test_limits_of_the_interpreter_are_those_of_the_caller(waiting):
    recursion, digits = sys.getrecursionlimit(), sys.get_int_max_str_digits()
    try:
        settings.apply({"recursion": recursion + 1, "digits": 5000}, 1, -1)
        assert (sys.getrecursionlimit(), sys.get_int_max_str_digits()) == (recursion + 1, 5000)
    finally:
        sys.setrecursionlimit(recursion)
        sys.set_int_max_str_digits(digits)


def test_settings_of_a_client_replace_those_of_the_process_that_serves_it(waiting, monkeypatch):
    done = []
    monkeypatch.setattr(settings, "_ACTS", {"csv": done.append, "nice": done.append})

    settings.apply({"csv": 1, "nice": 2, "client": dumps_inline({"csv": 3, "nice": 4})}, 1, -1)

    assert done == [3, 2]


@pytest.mark.parametrize("payload", [b"", b"no pickle", dumps_inline(7)])
def test_settings_of_a_client_that_cannot_be_used_are_left_out(waiting, monkeypatch, payload):
    done = []
    monkeypatch.setattr(settings, "_ACTS", {"csv": done.append})

    settings.apply({"csv": 1, "client": payload}, 1, -1)

    assert done == [1]


# -- what -------------------------------------------------------------------------------------------------------------


def test_filters_decide_as_those_of_the_caller_that_were_described(filters):
    warnings.simplefilter("ignore")
    warnings.filterwarnings("error", message="care[f]ul")
    warnings.simplefilter("error", Careful)
    described = collecting._warning_filters()
    warnings.resetwarnings()

    settings._set_warning_filters(described)

    for error in (UserWarning("careful"), Careful("mine")):
        with pytest.raises(type(error)):
            warnings.warn(error, stacklevel=1)
    warnings.warn("other", stacklevel=1)
    assert warnings.filters is filters


def test_category_of_a_filter_is_found_without_its_module():
    named = settings._as_category("nowhere", "Careful")
    here = settings._as_category(__name__, "Careful")

    assert issubclass(Careful, here)
    assert issubclass(type("More", (Careful,), {}), here)
    assert not issubclass(Careful, named)
    assert not issubclass(UserWarning, here)
    assert settings._as_category("builtins", "UserWarning") is UserWarning


def test_pattern_of_a_filter_is_compiled_when_it_is_used(monkeypatch):
    compiled = []
    real = re.compile
    monkeypatch.setattr(re, "compile", lambda *args: compiled.append(args) or real(*args))
    pattern = settings._as_pattern(("CARE", re.IGNORECASE))
    assert compiled == []

    assert pattern.match("careful")
    assert not pattern.match("careless"[4:])
    assert compiled == [("CARE", re.IGNORECASE)]


def test_text_and_nothing_are_patterns_as_they_are():
    assert settings._as_pattern("text") == "text"
    assert settings._as_pattern(None) is None


def test_context_of_decimal_is_that_of_threads_that_start_later():
    before = decimal.DefaultContext.copy()
    got = []
    try:
        settings._set_decimal_context((50, decimal.ROUND_UP, -99, 99, 0, 1, ("Inexact",)))
        thread = threading.Thread(target=lambda: got.append(decimal.getcontext()))
        thread.start()
        thread.join()
    finally:
        for name in ("prec", "rounding", "Emin", "Emax", "capitals", "clamp"):
            setattr(decimal.DefaultContext, name, getattr(before, name))
        decimal.DefaultContext.traps.update(before.traps)

    [context] = got
    assert (context.prec, context.rounding, context.Emin, context.Emax) == (50, decimal.ROUND_UP, -99, 99)
    assert (context.capitals, context.clamp) == (0, 1)
    assert [signal.__name__ for signal, is_on in context.traps.items() if is_on] == ["Inexact"]


def test_limits_of_modules_that_are_imported_are_set_at_once():
    limit, timeout = csv.field_size_limit(), socket.getdefaulttimeout()
    try:
        settings._set_field_limit(5)
        settings._set_socket_timeout(2.5)
        assert (csv.field_size_limit(), socket.getdefaulttimeout()) == (5, 2.5)
    finally:
        csv.field_size_limit(limit)
        socket.setdefaulttimeout(timeout)


def test_locale_is_set_as_far_as_this_host_has_it(monkeypatch):
    done = []

    class Locale:
        LC_CTYPE, LC_TIME = 0, 5
        Error = OSError

        def setlocale(self, category, value):
            if value == "xx_XX":
                raise self.Error("unsupported locale setting")
            done.append((category, value))

    monkeypatch.setitem(sys.modules, "_locale", Locale())

    settings._set_locale({"LC_MESSAGES": "de_DE", "LC_CTYPE": "xx_XX", "LC_TIME": "de_DE"})

    assert done == [(5, "de_DE")]


@pytest.mark.parametrize("before", [None, "before"])
def test_coverage_is_started_with_the_callers_configuration_and_leaves_the_environment(monkeypatch, before):
    name, seen = "COVERAGE_PROCESS_START", []
    monkeypatch.delenv(name, raising=False)
    if before is not None:
        monkeypatch.setenv(name, before)
    monkeypatch.setitem(
        sys.modules, "coverage", SimpleNamespace(process_startup=lambda: seen.append(os.environ.get(name)))
    )

    settings._start_coverage("rc")

    assert seen == ["rc"]
    assert os.environ.get(name) == before


def test_reducers_are_registered_and_one_that_cannot_be_loaded_harms_no_other(monkeypatch):
    monkeypatch.setattr(copyreg, "dispatch_table", copyreg.dispatch_table.copy())

    settings._register_reducers(
        [(__name__, "Odd", b"no pickle"), (__name__, "Weight", dumps_inline((Weight, reduce_weight)))]
    )

    assert copyreg.dispatch_table[Weight] is reduce_weight


def test_worker_is_a_child_of_the_caller_to_multiprocessing():
    here = SimpleNamespace()
    process = SimpleNamespace(current_process=lambda: here, _ParentProcess=lambda *of: of)

    settings._introduce(process, {"process": ("Caller-2", (2,), 77), "authkey": b"key"}, 3, 9)

    assert (here._identity, here._name, here.authkey) == ((2, 3), "PeerPoolProcess-2:3", b"key")
    assert process._parent_process == ("Caller-2", 77, 9)


class Logging:
    """Notes what a worker sets in `logging`."""

    def __init__(self):
        self.done = []

    def __getattr__(self, name):
        return lambda *args: self.done.append((name, *args))


def test_logging_is_set_up_before_records_are_relayed(monkeypatch):
    logging = Logging()
    monkeypatch.setattr(settings.log_relay, "attach", lambda _, levels: logging.done.append(("attach", levels)))

    settings._set_up_logging(
        logging,
        {
            "level_names": {15: "VERBOSE"},
            "logger_class": dumps_inline(Weight),
            "disabled": 5,
            "levels": {"": 30},
        },
    )

    assert logging.done == [
        ("addLevelName", 15, "VERBOSE"),
        ("setLoggerClass", Weight),
        ("disable", 5),
        ("attach", {"": 30}),
    ]


def test_class_of_loggers_waits_while_cloudpickle_is_what_imports_logging(monkeypatch):
    logging = Logging()
    monkeypatch.setattr(settings.log_relay, "attach", lambda *_: None)
    half = SimpleNamespace(__spec__=SimpleNamespace(_initializing=True))
    monkeypatch.setitem(sys.modules, settings._CLOUDPICKLE, half)

    settings._set_up_logging(logging, {"logger_class": dumps_inline(Weight)})

    assert logging.done == []


def test_class_of_loggers_that_cannot_be_loaded_is_left_out():
    settings._set_logger_class(Logging(), b"no pickle")
