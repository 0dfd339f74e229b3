"""Modules as archives."""

import hashlib
import sys
import zipfile
from io import BytesIO

import pytest

from woolexec import PeerPoolExecutor
from woolexec.mesh.client.code_archive import code_archive


@pytest.fixture
def parcel(tmp_path):
    """A package of two files."""
    folder = tmp_path / "parcel"
    folder.mkdir()
    (folder / "__init__.py").write_text("FACTOR = 2\n")
    (folder / "inner.py").write_text("from parcel import FACTOR\n")
    return folder


def test_what_is_the_same_has_the_same_digest(parcel):
    before = code_archive(parcel)
    (parcel / "__pycache__").mkdir()
    (parcel / "__pycache__" / "inner.pyc").write_bytes(b"")
    (parcel / "inner.py").touch()
    assert code_archive(str(parcel)) == before
    assert zipfile.ZipFile(BytesIO(before.data)).namelist() == ["parcel/__init__.py", "parcel/inner.py"]
    assert before.digest == hashlib.sha256(before.data).hexdigest()


def test_what_has_changed_has_another_digest(parcel):
    before = code_archive(parcel)
    (parcel / "inner.py").write_text("from parcel import FACTOR as TIMES\n")
    assert code_archive(parcel).digest != before.digest


def test_single_file_is_shipped_under_its_name(parcel):
    archive = code_archive(parcel / "inner.py")
    assert archive.name == "inner"
    assert zipfile.ZipFile(BytesIO(archive.data)).namelist() == ["inner.py"]


def test_module_of_a_package_brings_the_whole_package(parcel, monkeypatch):
    monkeypatch.syspath_prepend(str(parcel.parent))
    whole = code_archive(parcel)
    assert code_archive("parcel") == code_archive("parcel.inner") == whole


@pytest.mark.parametrize("what", ["json", sys, "woolexec", "no_such_module", "./no/such/path", "__main__"])
def test_what_cannot_be_shipped_is_a_value_error(what):
    with pytest.raises(ValueError, match="ship: "):
        code_archive(what)


def test_what_is_neither_a_module_nor_a_path_is_a_type_error():
    with pytest.raises(TypeError, match="each of ship"):
        code_archive(3)


def test_pool_refuses_at_once_what_cannot_be_shipped():
    with pytest.raises(ValueError, match="ship: peers already have 'json'"):
        PeerPoolExecutor(peers="127.0.0.1:1", ship=["json"])
