"""Row 44: the caller changes `sys.path` or its directory after the workers have started."""

import importlib
import os
import sys

import pytest

from woolexec import PeerPoolExecutor

from .tasks import SOON

NAMES = ("on_the_path_later", "on_the_path_even_later")


@pytest.fixture
def modules(tmp_path, monkeypatch):
    for name in NAMES:
        folder = tmp_path / name
        folder.mkdir()
        (folder / f"{name}.py").write_text(
            "import os, sys\ndef look():\n    return __name__\nasync def look_beside():\n    return __name__\n"
            "def helper():\n    import helper_on_the_path\n    return list(sys.path)\n"
        )
        (folder / "helper_on_the_path.py").write_text("")
    monkeypatch.setattr(sys, "path", sys.path[:])
    yield tmp_path
    for name in NAMES:
        sys.modules.pop(name, None)
    importlib.invalidate_caches()


@pytest.fixture
def pool():
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result(SOON) == 1
        yield pool


def test_functions_of_modules_that_became_importable_later_are_found(pool, modules):
    for name in NAMES:
        sys.path.insert(0, str(modules / name))
        module = importlib.import_module(name)
        assert pool.submit(module.look).result(SOON) == name
        assert pool.submit(module.look_beside).result(SOON) == name
        assert list(pool.map(len, [name])) == [len(name)]
        assert pool.submit(module.helper).result(SOON)[0] == str(modules / name)


def test_entries_that_tasks_have_added_stay_and_those_that_the_caller_removed_go(pool, modules):
    pool.submit(add_to_path, "/added/by/a/task").result(SOON)
    sys.path.insert(0, str(modules / NAMES[0]))
    assert pool.submit(get_path).result(SOON)[0] == str(modules / NAMES[0])
    del sys.path[0]

    path = pool.submit(get_path_again).result(SOON)

    assert str(modules / NAMES[0]) not in path
    assert path[-1] == "/added/by/a/task"


def add_to_path(entry):
    sys.path.append(entry)


def get_path():
    return list(sys.path)


def get_path_again():
    return list(sys.path)


def test_relative_entries_follow_the_caller_and_the_workers_directory_stays(pool, modules, monkeypatch):
    before = pool.submit(os.getcwd).result(SOON)
    sys.path.insert(0, "")
    monkeypatch.chdir(modules / NAMES[0])
    module = importlib.import_module(NAMES[0])

    assert pool.submit(module.look).result(SOON) == NAMES[0]
    assert pool.submit(os.getcwd).result(SOON) == before


def test_worker_that_starts_later_finds_what_its_initializer_needs(modules):
    with PeerPoolExecutor(1, max_tasks_per_child=1) as pool:
        assert pool.submit(abs, -1).result(SOON) == 1
        sys.path.insert(0, str(modules / NAMES[0]))
        module = importlib.import_module(NAMES[0])
        assert pool.submit(module.look).result(SOON) == NAMES[0]
