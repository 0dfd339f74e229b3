"""Four of the errors are a `BrokenProcessPool`, whose module is loaded when the first of them is named."""

import copy
import pickle
import subprocess
import sys
from concurrent.futures import BrokenExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

from woolexec import errors

BROKEN = ["InitializerError", "NoPeersError", "WorkerLostError", "WorkerStartError"]


def run(code):
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, timeout=50)
    assert ran.returncode == 0, ran.stderr
    return ran.stdout.split("\n")[:-1]


@pytest.mark.parametrize("name", BROKEN)
def test_the_standard_librarys_clause_catches_ours(name):
    cls = getattr(errors, name)

    with pytest.raises(BrokenProcessPool):
        raise cls("why")
    assert isinstance(cls("why"), BrokenExecutor)
    assert issubclass(cls, errors.WoolexecError)


@pytest.mark.parametrize("name", errors.__all__)
def test_errors_are_known_by_the_module_that_users_import_them_from(name):
    cls = getattr(errors, name)

    assert (cls.__module__, cls.__qualname__) == ("woolexec.errors", name)
    assert pickle.loads(pickle.dumps(cls)) is cls
    for error in (pickle.loads(pickle.dumps(cls("why"))), copy.copy(cls("why"))):
        assert (type(error), error.args) == (cls, ("why",))


def test_all_are_listed():
    defined = {
        name for name, value in vars(errors).items() if isinstance(value, type) and value.__module__ == errors.__name__
    }

    assert defined <= set(errors.__all__) == set(dir(errors))
    with pytest.raises(AttributeError, match="LostError"):
        errors.LostError  # noqa: B018


def test_an_error_that_arrives_brings_its_module():
    body = pickle.dumps(errors.WorkerLostError("why"))

    assert run(
        "import pickle, sys\n"
        "import woolexec.errors\n"
        "print('concurrent.futures.process' in sys.modules)\n"
        f"error = pickle.loads({body!r})\n"
        "from concurrent.futures.process import BrokenProcessPool\n"
        "print(isinstance(error, BrokenProcessPool), error)\n"
    ) == ["False", "True why"]


def test_threads_that_name_them_at_once_get_the_same_whole_class():
    assert run(
        "import sys, threading\n"
        "sys.setswitchinterval(1e-6)\n"
        "from woolexec import errors\n"
        f"names = {BROKEN!r} * 4\n"
        "start, got = threading.Barrier(len(names)), []\n"
        "def name_it(name):\n"
        "    start.wait()\n"
        "    error = getattr(errors, name)('why')\n"
        "    got.append((name, type(error), error.args, type(error).__mro__[-5:]))\n"
        "threads = [threading.Thread(target=name_it, args=(name,)) for name in names]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "print(len(got), len(set(got)), all(cls is getattr(errors, name) for name, cls, _, _ in got))\n"
    ) == ["16 4 True"]


def test_they_can_be_named_when_the_interpreter_ends_and_their_base_no_more():
    assert run(
        "import atexit\n"
        "from woolexec import errors\n"
        "@atexit.register\n"
        "def at_the_end():\n"
        "    try:\n"
        "        from concurrent.futures.process import BrokenProcessPool\n"
        "    except RuntimeError:\n"
        "        from concurrent.futures import BrokenExecutor as BrokenProcessPool\n"
        "    print(isinstance(errors.WorkerLostError('why'), BrokenProcessPool))\n"
    ) == ["True"]


def test_a_worker_that_is_lost_is_told_by_a_program_that_has_not_named_them():
    assert run(
        "import os, sys\n"
        "from woolexec import PeerPoolExecutor\n"
        "with PeerPoolExecutor(1) as pool:\n"
        "    print('concurrent.futures.process' in sys.modules)\n"
        "    error = pool.submit(os._exit, 3).exception()\n"
        "from concurrent.futures.process import BrokenProcessPool\n"
        "print(type(error).__name__, isinstance(error, BrokenProcessPool), error.exitcode)\n"
    ) == ["False", "WorkerLostError True 3"]
