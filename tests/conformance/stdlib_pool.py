"""
CPython's tests of `multiprocessing.Pool`, with a pool of the executor under test in its place.

The generic test classes are in the module that CPython's tests for each start method share.  A pool that they make is
`as_pool` of an executor that ends with the test; one argument is named otherwise there, `maxtasksperchild`.
"""

import importlib
import multiprocessing
import unittest
import unittest.mock
from collections.abc import Callable
from concurrent.futures import Executor
from types import ModuleType
from typing import Any

from woolexec import PeerPoolExecutor, as_pool

from .stdlib_suite import import_suite, script_path, support

SUITE = "_test_multiprocessing"
CLASSES = ("_TestPool", "_TestPoolWorkerErrors", "_TestPoolWorkerLifetime")


def pool_maker(executors: list[Executor]) -> Callable[..., Any]:
    """Return what stands in the place of `multiprocessing.Pool`; the executors that it makes are added to the list."""

    def make(
        processes: int | None = None,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        maxtasksperchild: int | None = None,
    ) -> Any:
        executor = PeerPoolExecutor(
            processes, initializer=initializer, initargs=initargs, max_tasks_per_child=maxtasksperchild
        )
        executors.append(executor)
        return as_pool(executor)

    return make


def with_our_pool(helper: ModuleType) -> Callable[..., Any]:
    """Return `assert_python_ok` for scripts that import the pool of multiprocessing: they get ours."""
    run = helper.assert_python_ok

    def run_changed(flag: str, script: str) -> Any:
        import_, ours = (
            "from multiprocessing import Pool",
            "Pool = lambda processes: as_pool(PeerPoolExecutor(processes))",
        )
        assert import_ in script
        ours = f"from woolexec import PeerPoolExecutor, as_pool; {ours}"
        return run(flag, script.replace(import_, ours), PYTHONPATH=script_path())

    return run_changed


def end(executors: list[Executor]) -> None:
    for executor in executors:
        executor.kill_workers()  # type: ignore[attr-defined]  # what still sleeps is not waited for
        executor.shutdown()
    executors.clear()


def adapted(case: type) -> type[unittest.TestCase]:
    """Return one of the generic classes, for pools of the executor under test."""
    of_class: list[Executor] = []

    # As CPython does it: the generic class is no test case by itself.
    class Adapted(case, unittest.TestCase):  # type: ignore[misc, valid-type]  # made at run time
        TYPE = "processes"
        Pool = staticmethod(pool_maker(of_class))

        @classmethod
        def tearDownClass(cls) -> None:
            super().tearDownClass()
            end(of_class)

        def setUp(self) -> None:
            super().setUp()
            made: list[Executor] = []
            self.addCleanup(end, made)
            self.Pool = pool_maker(made)
            self.enterContext(unittest.mock.patch.object(multiprocessing, "Pool", self.Pool))
            helper = importlib.import_module("test.support.script_helper")
            self.enterContext(unittest.mock.patch.object(helper, "assert_python_ok", with_our_pool(helper)))
            support().environment_altered = False

    return type(case.__name__.removeprefix("_"), (Adapted,), {"__qualname__": case.__name__.removeprefix("_")})


def adapted_cases() -> dict[str, type[unittest.TestCase]]:
    """
    Return the test classes for pools of the executor under test, by name.

    :raises SuiteMissingError: if CPython's tests are not installed
    """
    module = import_suite(SUITE)
    cases = [adapted(getattr(module, name)) for name in CLASSES if hasattr(module, name)]
    return {case.__name__: case for case in cases}
