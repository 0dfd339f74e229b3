import importlib.util
import sys
import threading
import zipfile

import pytest

from woolexec.worker.import_hooks import when_imported

PATIENCE = 30


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
    got = []
    when_imported(module, lambda module: got.append(module.value))
    when_imported(module, lambda module: got.append(module.value + 1))
    assert got == []

    __import__(module)

    assert got == [1, 2]


def test_module_knows_its_own_loader(module):
    when_imported(module, print)

    loaded = importlib.import_module(module)

    assert type(loaded.__loader__).__name__ == type(loaded.__spec__.loader).__name__ == "SourceFileLoader"


def test_looking_whether_a_module_is_there_does_not_count_as_its_import(module):
    got = []
    when_imported(module, got.append)

    assert importlib.util.find_spec(module).loader.get_filename(module).endswith("imported_late.py")
    assert got == []

    __import__(module)
    assert len(got) == 1


def test_importing_does_not_change_the_list_of_finders_which_other_threads_may_be_going_through(module):
    when_imported(module, print)
    finders = list(sys.meta_path)

    __import__(module)

    assert sys.meta_path == finders


def test_other_modules_of_the_same_archive_are_not_taken_for_the_one_that_is_waited_for(tmp_path, monkeypatch):
    with zipfile.ZipFile(tmp_path / "both.zip", "w") as archive:
        archive.writestr("zipped_first.py", "")
        archive.writestr("zipped_second.py", "")
    monkeypatch.syspath_prepend(str(tmp_path / "both.zip"))
    got = []
    when_imported("zipped_first", got.append)

    for name in ("zipped_first", "zipped_second"):
        __import__(name)

    assert [module.__name__ for module in got] == ["zipped_first"]
    for name in ("zipped_first", "zipped_second"):
        del sys.modules[name]


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


def test_module_that_another_thread_is_importing_is_acted_on_when_it_is_complete(half_imported):
    got = []
    thread = threading.Thread(target=when_imported, args=(half_imported.name, lambda module: got.append(module.value)))
    thread.start()
    thread.join(0.05)
    assert got == []

    half_imported.go_on.set()

    thread.join(PATIENCE)
    assert got == [1]
