import importlib
import sys
import zipfile

import pytest

from woolexec.worker import code_import

ONE, OTHER = "1" * 64, "2" * 64


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """The folder of the code archives of a host on which nothing has been imported from them."""
    path = tmp_path / "code"
    path.mkdir(mode=0o700)
    monkeypatch.setenv(code_import.FOLDER, str(path))
    monkeypatch.setattr(code_import, "_used", {})
    monkeypatch.setattr(sys, "path", sys.path[:])
    before = set(sys.modules)
    yield path
    for name in set(sys.modules) - before:
        del sys.modules[name]


def write(folder, digest, number, package="crate"):
    with zipfile.ZipFile(folder / f"{digest}.zip", "w") as archive:
        archive.writestr(f"{package}/__init__.py", f"NUMBER = {number}")
        archive.writestr(f"{package}/inner.py", f"NUMBER = {number}")


def number_in(name):
    return importlib.import_module(name).NUMBER


def test_module_of_an_archive_can_be_imported(folder):
    write(folder, ONE, 1)
    code_import.use([("crate", ONE)])

    assert (number_in("crate"), number_in("crate.inner")) == (1, 1)


def test_other_version_takes_the_place_of_the_module_and_its_submodules(folder):
    write(folder, ONE, 1)
    write(folder, OTHER, 2)
    code_import.use([("crate", ONE)])
    assert (number_in("crate"), number_in("crate.inner")) == (1, 1)

    code_import.use([("crate", OTHER)])

    assert (number_in("crate"), number_in("crate.inner")) == (2, 2)
    assert str(folder / f"{ONE}.zip") not in sys.path


def test_version_that_is_in_use_is_not_imported_again(folder):
    write(folder, ONE, 1)
    code_import.use([("crate", ONE)])
    module = importlib.import_module("crate")
    path = sys.path[:]

    code_import.use([("crate", ONE)])

    assert importlib.import_module("crate") is module
    assert sys.path == path


def test_module_whose_name_only_begins_alike_stays(folder):
    write(folder, ONE, 1, "crates")
    write(folder, OTHER, 2)
    code_import.use([("crates", ONE)])
    module = importlib.import_module("crates")

    code_import.use([("crate", OTHER)])

    assert importlib.import_module("crates") is module


def test_archive_that_is_not_there_is_named_by_its_module(folder):
    with pytest.raises(ModuleNotFoundError, match="module 'crate' was not shipped to") as raised:
        code_import.use([("crate", ONE)])

    assert raised.value.name == "crate"


@pytest.mark.parametrize("mode", [0o720, 0o702])
def test_nothing_is_imported_from_a_folder_that_others_can_write_to(folder, mode):
    write(folder, ONE, 1)
    folder.chmod(mode)
    try:
        with pytest.raises(PermissionError, match="it must belong to this user, with mode 0700"):
            code_import.use([("crate", ONE)])
    finally:
        folder.chmod(0o700)

    with pytest.raises(ModuleNotFoundError):
        importlib.import_module("crate")
    code_import.use([("crate", ONE)])
    assert number_in("crate") == 1
