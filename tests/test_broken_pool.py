import copy
import importlib.util
import pickle
import sys
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from woolexec import broken_pool
from woolexec.base_error import WoolexecError
from woolexec.errors import WorkerLostError


def lost():
    error = WorkerLostError("worker 5 was killed")
    error.task, error.pid, error.host, error.exitcode, error.attempts = "fn", 5, "here", -9, 2
    return error


@pytest.mark.parametrize("duplicate", [lambda error: pickle.loads(pickle.dumps(error)), copy.copy, copy.deepcopy])
def test_lost_call_keeps_what_is_known_of_it(duplicate):
    error = duplicate(lost())

    assert (type(error), error.args) == (WorkerLostError, ("worker 5 was killed",))
    assert (error.task, error.pid, error.host, error.exitcode, error.attempts) == ("fn", 5, "here", -9, 2)
    assert error.seconds is None


def test_subclass_of_the_programs_own_is_rebuilt_as_itself():
    error = copy.copy(Own("why"))

    assert (type(error), error.args) == (Own, ("why",))


class Own(WorkerLostError):
    pass


def test_errors_are_of_the_standard_librarys_pool():
    assert broken_pool.BrokenProcessPool is BrokenProcessPool
    assert issubclass(WorkerLostError, (BrokenProcessPool, WoolexecError))


def test_errors_are_broken_executors_where_multiprocessing_does_not_work(monkeypatch):
    monkeypatch.setitem(sys.modules, "concurrent.futures.process", None)
    spec = importlib.util.spec_from_file_location("woolexec.broken_pool", broken_pool.__file__)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    assert module.BrokenProcessPool is BrokenExecutor
    assert issubclass(module.WorkerLostError, BrokenExecutor)
    assert not issubclass(module.WorkerLostError, BrokenProcessPool)
