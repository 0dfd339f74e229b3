"""Modules that another thread is importing, and whose names are not all defined yet."""

import ast
import subprocess
import sys
from fractions import Fraction
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType

import pytest

import woolexec
from woolexec.engine import fork_server, settings
from woolexec.engine.function_cache import trio_token
from woolexec.futures.loop_waiters import mailbox_here
from woolexec.imported import imported
from woolexec.wire import reducers, tracing
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads

PATIENCE = 30


def test_module_does_not_count_as_imported_while_another_thread_is_at_it(half_imported):
    assert half_imported.name in sys.modules
    assert imported(half_imported.name) is None

    half_imported.go_on.set()
    half_imported.thread.join(PATIENCE)

    assert imported(half_imported.name).value == 1


def test_module_that_nobody_imports_is_not_imported():
    assert imported("no_such_module_anywhere") is None


@pytest.mark.parametrize(
    ("name", "ask", "answer"),
    [
        ("multiprocessing.reduction", reducers.registered, {}),
        ("multiprocessing.process", fork_server._authentication_key, None),
        ("logging", settings._log_levels, None),
        ("trio", trio_token, None),
        ("opentelemetry.trace", tracing.is_on, False),
    ],
)
def test_module_that_is_half_imported_is_left_alone(name, ask, answer, monkeypatch):
    begin_import(name, monkeypatch)

    assert ask() == answer


def test_asyncio_that_is_half_imported_runs_no_loop(monkeypatch):
    begin_import("asyncio", monkeypatch)

    with pytest.raises(RuntimeError, match="no running event loop"):
        mailbox_here()


@pytest.mark.parametrize("value", [Fraction(1, 7), lambda: 1], ids=["by name", "by value"])
def test_pickling_goes_on_while_another_thread_imports_multiprocessing(value, monkeypatch):
    begin_import("multiprocessing.reduction", monkeypatch)

    assert type(loads(dumps(value))) is type(value)


def begin_import(name, monkeypatch):
    module = ModuleType(name)
    module.__spec__ = ModuleSpec(name, None)
    module.__spec__._initializing = True
    monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setattr(reducers, "_reduction", None)


def test_package_is_imported_before_a_module_of_it():
    """Two threads that import `concurrent.futures` and `concurrent.futures._base` first would wait for each other."""
    seen = 0
    for path in Path(woolexec.__file__).parent.rglob("*.py"):
        found = [
            node.module
            for node in ast.parse(path.read_text(encoding="utf-8")).body
            if isinstance(node, ast.ImportFrom) and str(node.module).startswith("concurrent.futures")
        ]
        if "concurrent.futures._base" in found:
            assert found[0] == "concurrent.futures", path
            seen += 1
    assert seen


IN_A_HOOK = """
import sys
from woolexec.wire.pickling import dumps

class Hook:
    def find_spec(name, path=None, target=None):
        if name == "cloudpickle":
            sys.meta_path.remove(Hook)
            print(len(dumps(lambda: 1)) > 0)

sys.meta_path.insert(0, Hook)
import cloudpickle
"""


def test_import_in_the_course_of_another_one_waits_for_no_other_thread():
    done = subprocess.run(
        [sys.executable, "-c", IN_A_HOOK], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    assert done.stdout == "True\n", done.stderr
