"""The public interface: a change here is a change for users, and belongs in CHANGELOG.md."""

import concurrent.futures
import inspect
import subprocess
import sys
from concurrent.futures.process import BrokenProcessPool
from importlib.metadata import version

import pytest

import woolexec
from woolexec import PeerPoolExecutor

NAMES = [
    "Actor",
    "ActorLostError",
    "AsyncMap",
    "Candidate",
    "Credentials",
    "CredentialsError",
    "Discovery",
    "DiscoveryError",
    "InitializerError",
    "LeastOutstanding",
    "NoPeersError",
    "PeerPoolExecutor",
    "PeerRefusedError",
    "PeerStartError",
    "Placement",
    "PlatformError",
    "PoolFullError",
    "PowerOfTwoChoices",
    "ProtocolError",
    "RemoteError",
    "RemoteTraceback",
    "RoundRobin",
    "Stacks",
    "Statistics",
    "StoreFullError",
    "Stream",
    "TaskInfo",
    "TaskProgress",
    "TaskStack",
    "UnsatisfiableError",
    "ValueLostError",
    "WoolexecError",
    "WorkerLostError",
    "WorkerMemoryError",
    "WorkerStartError",
    "__version__",
    "as_pool",
    "bar",
    "current_executor",
    "current_task",
    "freeze_support",
    "progress",
    "propagate",
    "routine",
]

METHODS = {
    "actor": "(self, cls, /, *args, **kwargs)",
    "__init__": "(self, max_workers=None, mp_context=None, initializer=None, initargs=(), *,"
    " max_tasks_per_child=None, initializer_timeout=60.0, max_coroutines=10000,"
    " peers=None, credentials=None, peers_timeout=60.0, placement=None, ship=(), on_worker_start=None,"
    " results='pickle', store_limit=None, spill_dir=None,"
    " lineage_limit=None, compression='auto', max_memory_per_child=None, memory_limit=None, idle_timeout=None,"
    " min_workers=0, finalizer=None, environment=None, output='auto', prefix='auto', max_outstanding=None,"
    " debug=False, dashboard=None, resources=None, slow_after=10.0)",
    "get": "(self, dsk, keys, **kwargs)",
    "kill_workers": "(self)",
    "map": "(self, fn, /, *iterables, timeout=None, chunksize=None, buffersize=None,"
    " ordered=True, return_exceptions=False)",
    "map_async": "(self, fn, /, *iterables, ordered=True, chunksize=None, buffersize=None,"
    " star=False, timeout=None, return_exceptions=False)",
    "put": "(self, value, /)",
    "run": "(self, fn, /, *args, **kwargs)",
    "run_on_all": "(self, fn, /, *args, **kwargs)",
    "run_on_all_async": "(self, fn, /, *args, **kwargs)",
    "shutdown": "(self, wait=True, *, cancel_futures=False, timeout=None)",
    "shutdown_async": "(self, *, cancel_futures=False, timeout=None)",
    "stacks": "(self, timeout=2.0)",
    "stacks_async": "(self, timeout=2.0)",
    "statistics": "(self)",
    "stream": "(self, fn, /, *args, prefetch=0, **kwargs)",
    "submit": "(self, fn, /, *args, **kwargs)",
    "submit_graph": "(self, graph, keys=None)",
    "terminate_workers": "(self)",
    "trace": "(self, path)",
    "wait_for_peers": "(self, count=1, timeout=None)",
    "with_options": "(self, *, timeout=None, retries=0, retry_on=(), idempotent=False, name=None,"
    " abandon_on_cancel=False, context_back=False, backend=None, require=None, near='', priority=0,"
    " keep=False, at='', restarts=0, max_concurrency=None,"
    " on_progress=None)",
}

ERRORS = {
    "ActorLostError": woolexec.WorkerLostError,
    "CredentialsError": woolexec.WoolexecError,
    "InitializerError": BrokenProcessPool,
    "NoPeersError": BrokenProcessPool,
    "PeerRefusedError": woolexec.WoolexecError,
    "PeerStartError": woolexec.WoolexecError,
    "PlatformError": ImportError,
    "PoolFullError": woolexec.WoolexecError,
    "ProtocolError": woolexec.WoolexecError,
    "RemoteError": woolexec.WoolexecError,
    "StoreFullError": MemoryError,
    "ValueLostError": woolexec.WorkerLostError,
    "WorkerLostError": BrokenProcessPool,
    "WorkerMemoryError": woolexec.WorkerLostError,
    "WorkerStartError": BrokenProcessPool,
}


def shape(function):
    """The signature without its annotations."""
    signature = inspect.signature(function)
    bare = [parameter.replace(annotation=parameter.empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=bare, return_annotation=signature.empty))


def test_the_names_are_these():
    assert sorted(woolexec.__all__) == NAMES
    assert dir(woolexec) == NAMES
    assert all(getattr(woolexec, name) is not None for name in NAMES)


def test_a_star_import_gives_them_all():
    names = {}
    exec("from woolexec import *", names)
    assert set(NAMES) <= set(names)


def test_a_name_that_is_not_there_is_an_attribute_error():
    with pytest.raises(AttributeError, match="NodePool"):
        woolexec.NodePool  # noqa: B018


def test_the_methods_of_the_pool_are_these():
    public = {name for name in dir(PeerPoolExecutor) if not name.startswith("_")}
    assert public | {"__init__"} == {*METHODS, "dashboard_url"}
    assert {name: shape(getattr(PeerPoolExecutor, name)) for name in METHODS} == METHODS


def test_the_pool_takes_all_that_the_standard_library_takes():
    theirs = inspect.signature(concurrent.futures.ProcessPoolExecutor.__init__).parameters
    ours = inspect.signature(PeerPoolExecutor.__init__).parameters
    assert list(theirs)[:5] == list(ours)[:5]
    assert set(theirs) <= set(ours)
    assert issubclass(PeerPoolExecutor, concurrent.futures.Executor)


@pytest.mark.parametrize("name", ERRORS)
def test_errors_are_ours_and_what_old_code_catches(name):
    error = getattr(woolexec, name)
    assert issubclass(error, woolexec.WoolexecError)
    assert issubclass(error, ERRORS[name])


def test_the_version_is_the_one_that_is_installed():
    assert woolexec.__version__ == version("woolexec")


def run(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def test_importing_the_package_and_using_a_local_pool_loads_no_network_library():
    ran = run(
        "import sys, woolexec\n"
        "with woolexec.PeerPoolExecutor(1) as pool: pool.submit(pow, 2, 3).result()\n"
        "print(sorted({'grpc', 'zeroconf', 'google.protobuf', 'anyio', 'cloudpickle', 'numpy'} & set(sys.modules)))\n"
    )
    assert ran.stdout == "[]\n", ran.stderr


HEAVY = [
    "asyncio",
    "concurrent.futures.process",
    "dataclasses",
    "inspect",
    "multiprocessing",
    "random",
    "signal",
    "subprocess",
    "woolexec.api.map",
    "woolexec.worker.nested_tasks",
    "woolexec.worker.process",
]


def test_a_pool_is_made_without_what_takes_long_to_import():
    """What keeps the import at 1.3 times that of `ProcessPoolExecutor`; the benchmark measures the time."""
    ran = run(
        "import sys, concurrent.futures._base\n"  # which imports `dataclasses` on Python 3.14, through `traceback`
        "bare = set(sys.modules)\n"
        "import woolexec\n"
        "print(sorted(set(sys.modules) - bare - {'__future__'}))\n"
        "pool = woolexec.PeerPoolExecutor(1)\n"
        f"print(sorted(set({HEAVY!r}) & set(sys.modules) - bare))\n"
    )
    assert ran.stdout == "['woolexec']\n[]\n", ran.stderr


def test_windows_gets_a_clear_import_error():
    ran = run(
        "import asyncio, concurrent.futures.process, os, selectors, socket, subprocess, sys, tempfile, threading\n"
        # What Windows does not have.
        "sys.platform = 'win32'\n"
        "sys.modules.update(dict.fromkeys(['fcntl', 'posix', 'pwd', 'resource', 'termios']))\n"
        "del os.fork, os.register_at_fork, socket.AF_UNIX\n"
        "try:\n"
        "    from woolexec import PeerPoolExecutor\n"
        "except ImportError as error:\n"
        "    print(type(error).__name__, error)\n"
    )
    assert ran.stdout.startswith("PlatformError "), ran.stdout + ran.stderr
    assert "Windows" in ran.stdout


def test_import_that_fails_for_lack_of_an_attribute_says_which():
    ran = run(
        "import select\n"
        "del select.poll\n"  # as eventlet does
        "try:\n"
        "    from woolexec import PeerPoolExecutor\n"
        "except ImportError as error:\n"
        "    print(error)\n"
    )
    assert ran.stdout == "PeerPoolExecutor cannot be imported: module 'select' has no attribute 'poll'\n", ran.stderr
