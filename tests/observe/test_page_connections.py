"""Connections to the page of a pool without its token: their limit, and that they do not keep others out."""

import asyncio
import contextlib
import logging
import os
import socket
from urllib.parse import urlsplit

import pytest

pytest.importorskip("starlette")
pytest.importorskip("uvicorn")

from tests.observe.test_dashboard import Viewer, ask, served
from woolexec.observe.page_connections import MOST, complain


def opened(page):
    url = urlsplit(page.url)
    return socket.create_connection((url.hostname, url.port), 10)


UNREAD = b"GET /?token=guessed HTTP/1.1\r\nHost: a\r\n\r\n" * 500


@pytest.mark.parametrize("said", [b"", b"GET / HTTP/1.1\r\nHost:", UNREAD], ids=["nothing", "half", "unread"])
def test_strangers_make_room_for_others_and_take_few_descriptors(said):
    with contextlib.ExitStack() as strangers, served() as page:
        before = len(os.listdir("/proc/self/fd"))
        socks = []
        for _ in range(3 * MOST):
            socks.append(strangers.enter_context(opened(page)))
            with contextlib.suppress(ConnectionError):
                socks[-1].sendall(said)
        assert ask(page)[0] == 200
        with contextlib.suppress(ConnectionError):
            while socks[0].recv(1 << 16):  # the oldest was closed
                pass
        assert len(os.listdir("/proc/self/fd")) <= before + len(socks) + MOST


def test_strangers_do_not_end_what_those_see_who_know_the_token():
    with contextlib.ExitStack() as strangers, served() as page:
        viewer = Viewer(page)
        assert viewer.next()[0] == "snapshot"
        for _ in range(2 * MOST):
            strangers.enter_context(opened(page))
        assert ask(page)[0] == 200
        assert viewer.next()[0] == "delta"
        viewer.close()


def test_what_strangers_send_is_not_logged(caplog):
    with served() as page:
        for said in (b"\0\xff\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET / HTTP/1.1\r\nUpgrade: websocket\r\n\r\n"):
            with opened(page) as sock:
                sock.sendall(said)
                sock.shutdown(socket.SHUT_WR)
                while sock.recv(4096):
                    pass
        assert ask(page)[0] == 200
    assert not [record for record in caplog.records if record.levelno >= logging.WARNING]


def test_a_fault_of_the_page_is_logged(caplog):
    with served(stacks=lambda: 1 // 0) as page:
        assert ask(page, "/stacks")[0] == 500
    assert "ZeroDivisionError" in caplog.text


def test_that_no_descriptor_is_left_is_not_logged_but_what_else_is_wrong(caplog):
    loop = asyncio.new_event_loop()
    with contextlib.closing(loop):
        complain(loop, {"message": "socket.accept() out of system resource", "exception": OSError(24, "")})
        assert not caplog.records
        complain(loop, {"message": "something else"})
    assert "something else" in caplog.text
