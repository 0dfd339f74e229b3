"""
Find CPython's tests of concurrent.futures and turn each pool's test class into one for the executor under test.

1. The tests are imported from the interpreter's `test` package, or, where a distribution splits them off, from
   the directory named by `WOOLEXEC_CONFORMANCE_TESTS` or the system's own library directory.
2. The stdlib makes a class per kind of pool: (generic tests, a mixin that makes the pool, a base). We take each class
   made for its spawned processes and put our mixin in the place of its own, so tests that a later Python adds join
   by themselves.
3. Scripts that tests run in new interpreters get one change: the import of the executor.
"""

import concurrent.futures
import importlib
import logging
import multiprocessing
import os
import pkgutil
import sys
import unittest
import unittest.mock
import weakref
from collections.abc import Iterator
from concurrent.futures import _base
from pathlib import Path
from types import ModuleType
from typing import Any

from .subject import IS_OURS, MODULE, NAME, Subject, python_path

SUITE = "test_concurrent_futures"
SPAWN_MIXIN = "ProcessPoolSpawnMixin"
# The stdlib waits 5 minutes before it calls a pool deadlocked.
DEADLOCK_TIMEOUT = 20.0


class SuiteMissingError(Exception):
    """This interpreter has no copy of CPython's tests."""


def directories() -> list[Path]:
    """Return where the tests may be, if the `test` package lacks them."""
    system = Path("/usr/lib") / f"python{sys.version_info.major}.{sys.version_info.minor}" / "test"
    named = os.environ.get("WOOLEXEC_CONFORMANCE_TESTS")
    return [Path(named)] if named else [system]


def import_suite(name: str = SUITE) -> ModuleType:
    """
    Import a suite of CPython's tests: by default that of concurrent.futures.

    :raises SuiteMissingError: if they are not installed
    """
    try:
        importlib.import_module("test.support")
    except ImportError as exc:
        raise SuiteMissingError("this Python has no `test` package") from exc
    try:
        return importlib.import_module(f"test.{name}")
    except ModuleNotFoundError as exc:
        if exc.name != f"test.{name}":
            raise
    for directory in directories():
        if (directory / name).exists() or (directory / f"{name}.py").exists():
            if str(directory) not in sys.path:
                # Last, so that nothing else there hides another module; workers inherit the path.
                sys.path.append(str(directory))
            return importlib.import_module(name)
    raise SuiteMissingError(f"the `test` package of this Python has no {name}")


def modules(suite: ModuleType) -> list[ModuleType]:
    """Return the modules of the suite: one file until 3.11, a package since 3.12."""
    if not hasattr(suite, "__path__"):
        return [suite]
    return [importlib.import_module(f"{suite.__name__}.{info.name}") for info in pkgutil.iter_modules(suite.__path__)]


def names_of_tests(case: type) -> list[str]:
    return unittest.defaultTestLoader.getTestCaseNames(case)


def own_cases(module: ModuleType) -> Iterator[type[unittest.TestCase]]:
    """Yield the test classes that `module` defines and that have tests."""
    for value in vars(module).values():
        if not isinstance(value, type) or not issubclass(value, unittest.TestCase):
            continue
        if value.__module__ == module.__name__ and names_of_tests(value):
            yield value


def kind_of_pool(case: type) -> str | None:
    """Return the name of the mixin that makes the pool of `case`, None if it has no pool."""
    makers = (
        "ThreadPoolMixin",
        "InterpreterPoolMixin",
        SPAWN_MIXIN,
        "ProcessPoolForkMixin",
        "ProcessPoolForkserverMixin",
    )
    return next((cls.__name__ for cls in case.__mro__ if cls.__name__ in makers), None)


def support() -> ModuleType:
    return importlib.import_module("test.support")


def make_mixin(executor_mixin: type) -> type:
    """Return the mixin that stands in the place of the stdlib's ProcessPoolSpawnMixin."""
    made: weakref.WeakSet[Any] = weakref.WeakSet()

    def remember(self: Any, *args: Any, **options: Any) -> None:
        Subject.__init__(self, *args, **options)
        made.add(self)

    # Scripts in tests import the executor by the name of its class.
    subject = type(Subject.__name__, (Subject,), {"__init__": remember})

    class PeerPoolMixin(executor_mixin):
        executor_type = subject
        TIMEOUT = DEADLOCK_TIMEOUT

        def get_context(self) -> Any:
            # For the managers and semaphores that tests make.
            return multiprocessing.get_context("spawn")

        def create_event(self) -> Any:
            # The mixins of 3.14 and later have it, and a manager that their `tearDown` ends.
            if self.manager is None:
                self.manager = self.get_context().Manager()
            return self.manager.Event()

        def setUp(self) -> None:
            module = sys.modules[type(self).__bases__[0].__module__]
            if hasattr(module, "assert_python_ok"):
                runner = changed_import(module.assert_python_ok)
                self.enterContext(unittest.mock.patch.object(module, "assert_python_ok", runner))
            # Some tests name the stdlib's class where they mean their own; a function, so that it equals no class.
            self.enterContext(
                unittest.mock.patch.object(
                    concurrent.futures, "ProcessPoolExecutor", lambda *args, **options: subject(*args, **options)
                )
            )
            support().environment_altered = False
            super().setUp()

        def tearDown(self) -> None:
            # Also those that a test made itself and left, as it failed half way.  What still sleeps is not waited for.
            for executor in list(made):
                if hasattr(executor, "kill_workers"):
                    executor.kill_workers()
                executor.shutdown()
            made.clear()
            super().tearDown()
            # The stdlib's runner fails a test that leaves a child or a thread behind; pytest would not notice.
            # Others may have servants of the whole process, as grpc has.
            assert not (IS_OURS and support().environment_altered), "a child process or a thread was left behind"

    return PeerPoolMixin


class SubjectFutures:
    """Run the tests of Future on futures like those that the executor under test returns."""

    def setUp(self) -> None:
        with Subject(1) as pool:
            future_type = type(pool.submit(int))
        module = sys.modules[type(self).__bases__[1].__module__]
        # The tests match the name of the class.
        for name, value in future_names(type("Future", (future_type,), {})).items():
            if hasattr(module, name):
                self.enterContext(unittest.mock.patch.object(module, name, value))
        # Records reach stderr, where the tests look, as long as pytest does not take them.
        self.enterContext(unittest.mock.patch.object(logging.root, "handlers", []))
        super().setUp()


def future_names(future_type: Any) -> dict[str, Any]:
    """Return what the suite has in its modules: how futures are made, and one in each state."""

    def create_future(
        state: str = _base.PENDING, exception: BaseException | None = None, result: object = None
    ) -> concurrent.futures.Future[object]:
        future = future_type()
        future._state, future._exception, future._result = state, exception, result
        return future

    return {
        "Future": future_type,
        "create_future": create_future,
        "PENDING_FUTURE": create_future(_base.PENDING),
        "RUNNING_FUTURE": create_future(_base.RUNNING),
        "CANCELLED_FUTURE": create_future(_base.CANCELLED),
        "CANCELLED_AND_NOTIFIED_FUTURE": create_future(_base.CANCELLED_AND_NOTIFIED),
        "EXCEPTION_FUTURE": create_future(_base.FINISHED, exception=OSError()),
        "SUCCESSFUL_FUTURE": create_future(_base.FINISHED, result=42),
    }


def changed_import(assert_python_ok: Any) -> Any:
    """Return `assert_python_ok` for scripts whose imports are changed: the executor's, and ours for the suite."""
    changes = {
        f"from concurrent.futures import {NAME}": f"from {MODULE} import {NAME}",
        f"from test.{SUITE}": f"from {import_suite().__name__}",
    }

    def run(flag: str, script: str, **env: str) -> Any:
        for old, new in changes.items():
            script = script.replace(old, new)
        return assert_python_ok(flag, script, PYTHONPATH=script_path(), **env)

    return run


def script_path() -> str:
    named = [str(path) for path in directories() if str(path) in sys.path]
    return os.pathsep.join(filter(None, [python_path(), *named]))


def adapted_cases() -> dict[str, type[unittest.TestCase]]:
    """
    Return the test classes for the executor under test, by the name of the stdlib's generic class.

    :raises SuiteMissingError: if CPython's tests are not installed
    """
    cases = {}
    for case in stdlib_cases().values():
        if kind_of_pool(case) == SPAWN_MIXIN:
            generic, maker, *rest = case.__bases__
            cases[generic.__name__] = type(generic.__name__, (generic, make_mixin(maker.__bases__[0]), *rest), {})
        elif case.__name__ == "FutureTests":
            cases[case.__name__] = type(case.__name__, (SubjectFutures, case), {})
    return cases


def stdlib_cases() -> dict[str, type[unittest.TestCase]]:
    return {case.__name__: case for module in modules(import_suite()) for case in own_cases(module)}
