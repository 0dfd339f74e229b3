import importlib.util
import os
import sys
import types

import pytest

from woolexec.wire import modules
from woolexec.wire.modules import MAIN, comes_by_value, look, space_of


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Look at all modules again; forget those of the test."""
    monkeypatch.setattr(modules, "_looked_at", (0, ""))
    monkeypatch.setattr(modules, "_importable", {})
    monkeypatch.setattr(modules, "by_path", {})
    before = dict(sys.modules)
    yield
    for name in sys.modules.keys() - before.keys():
        del sys.modules[name]


def load(path, name):
    """Load a module by its path."""
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def write(folder, name):
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("def fn(): pass\n")
    return path


def test_module_that_was_loaded_by_path_comes_by_value(tmp_path):
    module = load(write(tmp_path, "beside_x.py"), "beside_x")
    look()

    assert comes_by_value("beside_x")
    assert space_of(vars(module)) == "beside_x"
    assert list(modules.by_path) == ["beside_x"]  # every other module of the tests can be imported


def make(name, source="def fn(): pass\n"):
    """Make a module by hand, as programs do that have code in a text."""
    module = sys.modules[name] = types.ModuleType(name)
    exec(source, vars(module))
    return module


def test_module_that_takes_the_place_of_one_that_is_gone_is_looked_at(tmp_path):
    load(write(tmp_path, "first_x.py"), "first_x")
    look()
    del sys.modules["first_x"]
    load(write(tmp_path, "second_x.py"), "second_x")
    look()

    assert comes_by_value("second_x")


def test_module_that_was_made_by_hand_comes_by_value():
    module = make("made_x")
    make("made_x.inner")
    look()

    assert comes_by_value("made_x")
    assert comes_by_value("made_x.inner")
    assert space_of(vars(module)) == "made_x"


def test_module_without_code_or_that_something_finds_does_not(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    write(tmp_path, "found_x.py")
    make("found_x")
    sys.modules["empty_x"] = types.ModuleType("empty_x")  # as extension modules make theirs
    make("email.made_x")  # its package may make it where it is imported
    look()

    assert not modules.by_path


@pytest.mark.parametrize("file", ["beside_x.py", "beside_x/__init__.py"])
def test_module_on_the_import_path_does_not(tmp_path, monkeypatch, file):
    monkeypatch.syspath_prepend(str(tmp_path))
    module = load(write(tmp_path, file), "beside_x")
    look()

    assert not comes_by_value("beside_x")
    assert space_of(vars(module)) is None


def test_module_that_was_loaded_under_another_name_comes_by_value(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    load(write(tmp_path, "beside_x.py"), "other_x")
    look()

    assert comes_by_value("other_x")


def test_module_of_which_the_import_path_has_another_one_comes_by_value(tmp_path, monkeypatch):
    write(tmp_path, "path/beside_x.py")
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    load(write(tmp_path, "hidden/beside_x.py"), "beside_x")
    look()

    assert comes_by_value("beside_x")


def test_module_is_looked_at_again_when_another_takes_its_name(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path / "path"))
    load(write(tmp_path, "path/beside_x.py"), "beside_x")
    look()
    assert not comes_by_value("beside_x")

    load(write(tmp_path, "hidden/beside_x.py"), "beside_x")
    monkeypatch.setitem(sys.modules, "one_more_x", types.ModuleType("one_more_x"))
    look()

    assert comes_by_value("beside_x")


def test_submodule_in_a_folder_that_its_package_adds_can_be_imported(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    package = load(write(tmp_path, "pack_x/__init__.py"), "pack_x")
    package.__path__ = [str(tmp_path / "elsewhere")]
    load(write(tmp_path, "elsewhere/inner.py"), "pack_x.inner")
    look()

    assert not comes_by_value("pack_x.inner")


def test_submodule_of_a_package_that_comes_by_value_does_too(tmp_path):
    package = load(write(tmp_path, "pack_x/__init__.py"), "pack_x")
    package.__path__ = [str(tmp_path / "pack_x")]
    load(write(tmp_path, "pack_x/inner.py"), "pack_x.inner")
    look()

    assert comes_by_value("pack_x")
    assert comes_by_value("pack_x.inner")


class Hostile:
    """What some packages put in place of a module."""

    def __getattr__(self, name):
        raise LookupError(name)


class Finder:
    """A finder of the program that raises."""

    @staticmethod
    def find_spec(name, path=None, target=None):
        raise LookupError(name)


def test_objects_and_finders_that_raise_do_no_harm(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "hostile_x", Hostile())
    monkeypatch.setattr(sys, "meta_path", [Finder, *sys.meta_path])
    load(write(tmp_path, "beside_x.py"), "beside_x")
    look()

    assert not comes_by_value("hostile_x")
    assert comes_by_value("beside_x")


def test_relative_entry_of_the_import_path_means_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [os.curdir, *sys.path])
    load(write(tmp_path, "beside_x.py"), "beside_x")
    look()

    assert not comes_by_value("beside_x")


def test_namespaces_that_call_themselves_main_have_names_of_their_own():
    one, other = {"__name__": MAIN}, {"__name__": MAIN}
    names = [space_of(each) for each in (one, other, one)]

    assert names[0] == names[2] != names[1]
    assert all(name.startswith(f"{MAIN}#") for name in names)
    assert space_of(vars(sys.modules[MAIN])) == MAIN
    assert space_of(globals()) is None


@pytest.mark.parametrize("name", [MAIN, "__mp_main__"])
def test_script_comes_by_value(name):
    assert comes_by_value(name)
    assert not comes_by_value(__name__)
    assert not comes_by_value(None)


def test_module_of_a_loader_of_the_program_comes_by_value(monkeypatch):
    class Finder:
        @classmethod
        def find_spec(cls, name, path=None, target=None):
            return importlib.util.spec_from_loader(name, cls) if name == "found_x" else None

        @staticmethod
        def create_module(spec):
            return None

        @staticmethod
        def exec_module(module):
            exec("def fn(): pass\n", vars(module))

    monkeypatch.setattr(sys, "meta_path", [*sys.meta_path, Finder])
    importlib.import_module("found_x")
    look()
    assert not comes_by_value("found_x")  # a worker has this finder's class

    monkeypatch.setattr(Finder, "__module__", MAIN)
    monkeypatch.setattr(modules, "_looked_at", (0, ""))
    monkeypatch.setattr(modules, "_importable", {})
    look()
    assert comes_by_value("found_x")
