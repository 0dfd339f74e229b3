import gc
import subprocess
import sys
import threading
import urllib.request

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.faults.tasks import eventually
from woolexec import PeerPoolExecutor
from woolexec.observe import pool_page
from woolexec.observe.pool_page import address_of


def threads(name="woolexec-page"):
    return [thread.name for thread in threading.enumerate() if thread.name == name]


@pytest.mark.parametrize(
    ("given", "address"),
    [
        (None, None),
        (False, None),
        (True, ("127.0.0.1", 0)),
        ("127.0.0.1:0", ("127.0.0.1", 0)),
        ("localhost:8787", ("localhost", 8787)),
        ("[::1]:80", ("::1", 80)),
    ],
)
def test_an_address_is_host_and_port(given, address):
    assert address_of(given) == address


@pytest.mark.parametrize("given", ["", "8787", ":8787", "host", "host:", "host:x", "host:65536", "host:-1", "host:²"])
def test_what_is_no_address_is_said(given):
    with pytest.raises(ValueError, match="host:port"):
        PeerPoolExecutor(1, dashboard=given)


def test_another_type_is_an_error():
    with pytest.raises(TypeError, match="not int"):
        PeerPoolExecutor(1, dashboard=8787)


def test_a_pool_has_a_page_until_it_ends():
    with PeerPoolExecutor(1, dashboard=True) as pool:
        assert pool.dashboard_url.startswith("http://127.0.0.1:")
        with urllib.request.urlopen(pool.dashboard_url, timeout=10) as answer:
            assert answer.read(15) == b"<!doctype html>"
        assert threads()
    assert not threads()


@pytest.mark.parametrize("method", ["terminate_workers", "kill_workers"])
def test_a_pool_whose_workers_are_ended_has_no_page(method):
    pool = PeerPoolExecutor(1, dashboard=True)
    pool.submit(abs, 1).result()
    getattr(pool, method)()
    assert not threads()


def test_a_pool_that_is_dropped_has_no_page():
    pool = PeerPoolExecutor(1, dashboard="127.0.0.1:0")
    assert threads()
    del pool
    gc.collect()
    assert not threads()


def test_a_pool_whose_page_cannot_be_opened_leaves_no_thread():
    before = threads("woolexec-engine")
    with pytest.raises(ValueError, match="host:port"):
        PeerPoolExecutor(peers="127.0.0.1:1", dashboard="nowhere")
    gc.collect()
    assert eventually(lambda: threads("woolexec-engine") == before)


def test_without_being_asked_for_there_is_none(monkeypatch):
    monkeypatch.delenv("WOOLEXEC_DASHBOARD", raising=False)
    with PeerPoolExecutor(1) as pool:
        assert pool.dashboard_url is None
    monkeypatch.setenv("WOOLEXEC_DASHBOARD", "1")
    with PeerPoolExecutor(1, dashboard=False) as pool:
        assert pool.dashboard_url is None


@pytest.mark.parametrize("value", ["1", "127.0.0.1:0"])
def test_the_environment_asks_for_it_and_the_url_is_printed(monkeypatch, capsys, value):
    monkeypatch.setenv("WOOLEXEC_DASHBOARD", value)
    with PeerPoolExecutor(1) as pool:
        assert pool.dashboard_url in capsys.readouterr().err


def test_the_environment_breaks_no_program(monkeypatch, caplog):
    monkeypatch.setenv("WOOLEXEC_DASHBOARD", "nowhere")
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(abs, -1).result() == 1
    assert "no page, although WOOLEXEC_DASHBOARD=nowhere" in caplog.text


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "woolexec.observe.dashboard", None)
    with pytest.raises(ImportError, match=r"woolexec\[web\]"):
        PeerPoolExecutor(1, dashboard=True)


def test_the_source_does_not_keep_the_pool_alive():
    pool = PeerPoolExecutor(1)
    source = pool_page._Source(pool)
    assert source.snapshot()["pool"]["pid"]
    assert source.stacks() == []
    pool.shutdown()
    assert source.snapshot() is None
    del pool
    gc.collect()
    assert source.snapshot() is None
    assert source.stacks() == []


def test_nothing_of_it_is_imported_until_it_is_asked_for():
    code = """
import sys
from tests.faults.tasks import eventually
from woolexec import PeerPoolExecutor
with PeerPoolExecutor(1) as pool:
    pool.submit(abs, 1).result()
print([name for name in sys.modules if name.split(".")[0] in {"starlette", "uvicorn"} or "page" in name])
"""
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert "starlette" not in ran.stdout
    assert "uvicorn" not in ran.stdout
    assert "observe" not in ran.stdout
