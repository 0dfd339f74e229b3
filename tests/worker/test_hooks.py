import sys

import pytest

from woolexec.worker.hooks import when_imported


@pytest.fixture
def module(tmp_path, monkeypatch):
    (tmp_path / "imported_late.py").write_text("value = 1\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    yield "imported_late"
    sys.modules.pop("imported_late", None)


def test_module_that_is_there_is_acted_on_at_once():
    got = []

    when_imported("sys", got.append)

    assert got == [sys]


def test_module_is_acted_on_once_it_has_been_executed(module):
    got, finders = [], list(sys.meta_path)
    when_imported(module, lambda module: got.append(module.value))
    assert got == []

    __import__(module)

    assert got == [1]
    assert sys.meta_path == finders


def test_other_imports_are_left_alone(module):
    got = []
    when_imported(module, got.append)

    with pytest.raises(ImportError):
        __import__("no_such_module_anywhere")

    assert got == []
    __import__(module)


def test_module_that_does_not_exist_is_an_import_error_as_always():
    when_imported("no_such_module_anywhere", print)

    with pytest.raises(ImportError):
        __import__("no_such_module_anywhere")
