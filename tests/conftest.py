"""
Rules for every test: it ends in time, and leaves nothing behind.

A test that takes longer than its ``timeout`` (60 s; ``@pytest.mark.timeout(120)`` changes it) fails with every stack
printed, by pytest-timeout.  If it hangs even then, for instance in the clean-up of a ``with``, the second watchdog
below prints the stacks without the GIL and ends the run.
"""

from __future__ import annotations

import atexit
import contextlib
import copyreg
import faulthandler
import gc
import importlib
import multiprocessing.util
import os
import resource
import shutil
import signal
import sys
import tempfile
import threading
from collections.abc import Generator, Iterator
from pathlib import Path
from typing import Any, TextIO

import pytest

from tests import leaks, selection

if "WOOLEXEC_STATE" not in os.environ:  # tests must not use the token of the user who runs them
    os.environ["WOOLEXEC_STATE"] = tempfile.mkdtemp(prefix="woolexec-tests-")
    atexit.register(shutil.rmtree, os.environ["WOOLEXEC_STATE"], ignore_errors=True)

# Programs that tests start must not depend on the user's settings for colours and pytest.
for name in ("CLICOLOR_FORCE", "FORCE_COLOR", "PYTEST_ADDOPTS", "PYTHON_COLORS", "PY_COLORS"):
    os.environ.pop(name, None)

# Requests of tests to this machine must not go through a proxy.
if any(name.lower().endswith("_proxy") for name in os.environ):
    for name in ("NO_PROXY", "no_proxy"):
        os.environ[name] = ",".join(filter(None, (os.environ.get(name), "127.0.0.1,::1,localhost")))

# Many workers import numpy, which takes a third less time if it starts no threads.
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

GRACE = 20.0
# The usual limit of shells: tests must pass with it, as users' programs must.
DESCRIPTORS = 1024

AT_EXIT = 120.0
"""Seconds that a test process has to end after its last test."""

_failed = pytest.StashKey[bool]()
_stderr = pytest.StashKey[TextIO]()
_left_out = pytest.StashKey[int]()
_here = pytest.StashKey[leaks.Snapshot | None]()  # the state at the end of the previous test


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--slow", action="store_true", help="run the slow tests as well")


def pytest_configure(config: pytest.Config) -> None:
    leaks.mark_this_run()
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY or soft > DESCRIPTORS:
        resource.setrlimit(resource.RLIMIT_NOFILE, (DESCRIPTORS, hard))
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
        # A shell starts background jobs like this.  Children inherit it, and tests send them this signal.
        signal.signal(signal.SIGINT, signal.default_int_handler)
    # A separate temporary directory, because the check for leftovers would find those of a concurrent run.  Its name is
    # short: a run within a run makes another directory in it, and the path of a Unix socket has at most 107 characters.
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", tempfile.gettempdir())
    os.environ["TMPDIR"] = tempfile.tempdir = tempfile.mkdtemp(prefix="tests-")
    # Removed after the directory that multiprocessing keeps in it until the interpreter exits.
    multiprocessing.util.Finalize(None, shutil.rmtree, (tempfile.tempdir, True), exitpriority=-200)
    # A copy, because pytest replaces descriptor 2 while a test runs.
    config.stash[_stderr] = os.fdopen(os.dup(2), "w")
    if hasattr(config, "workerinput"):  # a process of pytest-xdist
        from tests.whole_files import let_children_go

        let_children_go(config)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    from tests.whole_files import WholeFiles

    return WholeFiles(config, log) if config.getoption("dist") == "loadfile" else None


def _forget_tblib() -> None:
    """Pickle exceptions as usual again: if an earlier test has imported dask, that is changed for the whole process."""
    if "tblib.pickling_support" in sys.modules:
        for cls, reduce in list(copyreg.dispatch_table.items()):
            if getattr(reduce, "__module__", "") == "tblib.pickling_support":
                del copyreg.dispatch_table[cls]


def _forget_trio() -> None:
    """Let trio run again: after a timeout within `trio.run` it counts as running, and the next tests would fail."""
    if run := sys.modules.get("trio._core._run"):
        run.GLOBAL_RUN_CONTEXT.__dict__.clear()


def pytest_sessionfinish(session: pytest.Session) -> None:
    if hasattr(session.config, "workeroutput"):  # a process of pytest-xdist
        session.config.workeroutput["left_out"] = session.config.stash.get(_left_out, 0)


def pytest_unconfigure(config: pytest.Config) -> None:
    # A hang at interpreter exit is in no test's time.  A process of pytest-xdist waits at its end for the others,
    # without a limit, and is killed if it hangs then.
    if not hasattr(config, "workerinput"):
        faulthandler.dump_traceback_later(AT_EXIT, exit=True, file=config.stash[_stderr])


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    # Hundreds of modules are imported and stay loaded: collecting garbage meanwhile took half of the time.
    gc.disable()
    try:
        return (yield)
    finally:
        gc.enable()


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    selection.thin_out(items)
    for item in items:
        if "linux" in item.keywords and sys.platform != "linux":
            item.add_marker(pytest.mark.skip(reason="needs Linux"))
    if hasattr(config, "workerinput"):  # a process of pytest-xdist; the files are distributed in this order
        selection.sort(items)
    if config.getoption("--slow") or "slow" in config.getoption("markexpr"):
        return
    slow = [item for item in items if item.get_closest_marker("slow")]
    items[:] = [item for item in items if not item.get_closest_marker("slow")]
    config.hook.pytest_deselected(items=slow)
    config.stash[_left_out] = len(slow)


@pytest.fixture(scope="module", autouse=True)
def _what_is_here_stays() -> None:
    # Thousands of tests, and modules that earlier tests have imported, stay to the end.  Frozen, they are skipped by
    # the garbage collections after many tests, which then take a millisecond instead of hundreds.
    gc.collect()
    gc.freeze()


@pytest.hookimpl(optionalhook=True)
def pytest_testnodedown(node: Any, error: object) -> None:
    # Each process of pytest-xdist has collected all tests.
    config, left_out = node.config, getattr(node, "workeroutput", {}).get("left_out", 0)
    config.stash[_left_out] = max(left_out, config.stash.get(_left_out, 0))


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    if left_out := config.stash.get(_left_out, 0):
        terminalreporter.write_line(f"slow tests that are left out: {left_out}; make test-slow runs them")


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    _arm(item)
    _forget_tblib()
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


@pytest.hookimpl(trylast=True)
def pytest_exception_interact(node: pytest.Item | pytest.Collector) -> None:
    # pytest and pytest-timeout both stop their timers when a test fails, but its clean-up may still hang.
    if isinstance(node, pytest.Item):
        _arm(node)


def _arm(item: pytest.Item) -> None:
    limit = _limit(item)
    if limit and not item.config.getoption("usepdb"):
        faulthandler.dump_traceback_later(limit + GRACE, exit=True, file=item.config.stash[_stderr])


def _limit(item: pytest.Item) -> float:
    marker = item.get_closest_marker("timeout")
    if marker is None:
        return float(item.config.getoption("timeout") or item.config.getini("timeout") or 0)
    return float(marker.args[0] if marker.args else marker.kwargs.get("timeout", 0))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    if call.excinfo is not None:
        # pytest-timeout stops its timer a little later; if it fired while the failure is reported, the run would end.
        signal.setitimer(signal.ITIMER_REAL, 0)
    report = yield
    if report.failed:
        item.stash[_failed] = True
        _forget_trio()
        if report.when == "call" and isinstance(item, pytest.Function):
            _end_what_is_held(item)
    return report


def _end_what_is_held(item: pytest.Function) -> None:
    """End the tasks of the pools that fixtures made for this test, which would wait forever."""
    from tests.shared_pools import is_shared
    from woolexec import PeerPoolExecutor

    own, others = [], []
    for name, made in item.funcargs.items():
        definitions = item._fixtureinfo.name2fixturedefs.get(name, ())  # `request` has none
        pools = [each for each in (made if isinstance(made, tuple) else (made,)) if isinstance(each, PeerPoolExecutor)]
        (own if definitions and definitions[-1].scope == "function" else others).extend(pools)
    for pool in own:
        if not (is_shared(pool) or any(pool is other for other in others)):
            with contextlib.suppress(Exception):  # only the test's own failure is reported
                pool.shutdown(cancel_futures=True, timeout=0)


def pytest_fixture_setup(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    _forget_what_is_here(fixturedef, request)


def pytest_fixture_post_finalizer(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    _forget_what_is_here(fixturedef, request)


def _forget_what_is_here(fixturedef: pytest.FixtureDef[Any], request: pytest.FixtureRequest) -> None:
    """Take a new snapshot before the next test, because objects that several tests share are not leaks."""
    if fixturedef.scope != "function":
        request.config.stash[_here] = None


@pytest.fixture(autouse=True)
def _nothing_left_behind(request: pytest.FixtureRequest) -> Iterator[None]:
    marker = request.node.get_closest_marker("leaks")
    if marker is not None:
        request.config.stash[_here] = None
        if not (marker.kwargs.get("reason") or marker.args):
            pytest.fail("the mark 'leaks' needs a reason")
        yield
        return
    stash = request.config.stash
    before = stash.get(_here, None) or leaks.Snapshot.take()
    yield
    # A failed test's frames are kept for the report, with all objects in them; only its own failure is reported.
    failed = request.node.stash.get(_failed, False)
    left, stash[_here] = leaks.look(before, settle=0.2 if failed else leaks.SETTLE)
    if left or failed:
        leaks.clean_up(before)
        stash[_here] = None
    if left and not failed:
        pytest.fail("the test left behind:\n  " + "\n  ".join(left), pytrace=False)


class Clock:
    """A clock that the test advances."""

    now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="module")
def shared_pools(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Start the pools of `tests.shared_pools`."""
    from tests.shared_pools import started

    with started(tmp_path_factory.mktemp("started")):
        yield


_SLOW = """
import threading

go_on = threading.Event()
assert go_on.wait(30)
value = 1
"""


class HalfImported:
    """A module that a thread is importing until `go_on` is set."""

    name = "imported_slowly"

    def __init__(self) -> None:
        self.thread = threading.Thread(target=importlib.import_module, args=(self.name,))
        self.thread.start()
        while not hasattr(sys.modules.get(self.name), "go_on"):
            self.thread.join(0.001)
            assert self.thread.is_alive()
        self.go_on: threading.Event = sys.modules[self.name].go_on


@pytest.fixture
def half_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[HalfImported]:
    (tmp_path / f"{HalfImported.name}.py").write_text(_SLOW)
    monkeypatch.syspath_prepend(str(tmp_path))
    half = HalfImported()
    yield half
    half.go_on.set()
    half.thread.join(GRACE)
    sys.modules.pop(half.name, None)
