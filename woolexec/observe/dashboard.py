"""
The page of a pool: served by a separate thread, for requests with its token.

::

    thread woolexec-page                                            browsers
    Watch    takes snapshots while a browser watches,    ---------> page.html: one file
             at most ten times a second                   events -> a snapshot, then what has changed

A request must have the token in its URL, and a Host header with an address or one of the page's names.  The second rule
prevents DNS rebinding: otherwise a foreign web page whose name resolves to this machine could use this page.  The port
is not checked, because it may be forwarded.  The URL gives read access only: to cancel a task, a request must also have
the key, which only programs of this user can find; see `woolexec.observe.pool_records`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import re
import secrets
import socket
import threading
from functools import cache
from hmac import compare_digest
from ipaddress import ip_address
from time import monotonic
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from weakref import WeakSet

import uvicorn
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol

from woolexec.core.slow_tasks import ENOUGH, FACTOR
from woolexec.observe import pool_records
from woolexec.observe.delta import delta
from woolexec.observe.one_file import page_and_policy
from woolexec.observe.page_connections import BACKLOG, Strangers, complain
from woolexec.observe.palette import STATES
from woolexec.platform.posix import at_fork

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from starlette.requests import Request
    from starlette.types import ASGIApp, Receive, Scope, Send

_LEAST = 0.1
"""Minimum time between two snapshots, in seconds, regardless of the number of viewers."""

_USUAL = 0.25
"""Usual time between two snapshots, in seconds."""

_SHARE = 0.04
"""Maximum share of the time that is spent on taking snapshots: more costly ones are taken less often."""

_STUCK = 10.0
"""Minimum seconds that a task must have run to be shown as stuck."""

_VIEWERS = 64
"""Maximum number of browsers that watch at once."""

_HEADERS = {
    "Cache-Control": "no-store",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class Watch:
    """
    Snapshots, taken while a browser watches; only in the page's thread.

    :param snapshot: returns a snapshot as plain data, or None if the pool has ended
    """

    def __init__(self, snapshot: Callable[[], dict[str, Any] | None]) -> None:
        self._snapshot = snapshot
        self._last: dict[str, Any] = {}
        self._viewers: set[asyncio.Queue[str | None]] = set()
        self._task: asyncio.Task[None] | None = None
        self._is_closed = False

    async def events(self) -> AsyncIterator[str]:
        """Yield the events for one viewer."""
        queue: asyncio.Queue[str | None] = asyncio.Queue(4)
        is_first = not self._viewers
        if self._is_closed or (is_first and self._take() is None):
            yield _event("ended", {})
            return
        self._viewers.add(queue)
        if is_first:
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            yield _event("snapshot", self._last)
            while (event := await queue.get()) is not None:
                yield event
            yield _event("ended", {})
        finally:
            self._viewers.discard(queue)
            if not self._viewers and self._task is not None:
                self._task.cancel()

    def end(self) -> None:
        """Tell all viewers that the pool has ended."""
        for queue in self._viewers:
            _replace_all(queue, None)

    def close(self) -> None:
        """Tell all viewers that the pool has ended, also those whose request is still on its way."""
        self._is_closed = True
        self.end()

    @property
    def is_full(self) -> bool:
        """Whether no more viewers are admitted."""
        return len(self._viewers) >= _VIEWERS

    def _take(self) -> dict[str, Any] | None:
        """Take a snapshot; return what has changed, or None if the pool has ended."""
        new = self._snapshot()
        if new is None:
            return None
        changed = delta(self._last, new)
        self._last = new
        return changed

    async def _run(self) -> None:
        while True:
            began = monotonic()
            try:
                changed = self._take()
            except Exception:  # viewers must not go on showing old data
                logging.getLogger("woolexec").warning("the page of a pool has failed", exc_info=True)
                changed = None
            took = monotonic() - began
            if changed is None:
                self.end()
                return
            for queue in self._viewers:
                if queue.full():  # the viewer is slow: it gets a whole snapshot when it has read these
                    _replace_all(queue, _event("snapshot", self._last))
                else:
                    queue.put_nowait(_event("delta", changed))
            await asyncio.sleep(pause_after(took))


class Latest:
    """
    The cached result of a function that is called at most ten times a second, and less often if it takes long.

    :param take: the function
    """

    def __init__(self, take: Callable[[], Any]) -> None:
        self._take = take
        self._value: Any = None
        self._until = 0.0

    def get(self) -> Any:
        """Return the cached result, or a new one if it is too old."""
        began = monotonic()
        if began >= self._until:
            self._value = self._take()
            ended = monotonic()
            self._until = ended + max(_LEAST, (ended - began) / _SHARE)
        return self._value


def pause_after(took: float) -> float:
    """Return how long to wait after a snapshot that took this many seconds."""
    return max(_LEAST, _USUAL - took, took / _SHARE)


def _event(kind: str, data: Any) -> str:
    return f"event: {kind}\ndata: {json.dumps(data, separators=(',', ':'))}\n\n"


def _json(data: Any) -> Response:
    """Return a JSON response in ASCII: names of tasks may have characters that UTF-8 cannot encode."""
    return Response(json.dumps(data), media_type="application/json", headers=_HEADERS)


def _replace_all(queue: asyncio.Queue[str | None], event: str | None) -> None:
    while not queue.empty():
        queue.get_nowait()
    queue.put_nowait(event)


class Guard:
    """
    Passes on only requests that have the token, and a Host header that names this page.

    :param key: the key that requests must have to change something
    :param names: allowed names in the Host header; addresses are always allowed
    :param know: called with the address of each client that has sent the token
    """

    def __init__(
        self, app: ASGIApp, token: str, key: str, names: frozenset[str], know: Callable[[Any], object]
    ) -> None:
        self._app, self._token, self._key, self._names = app, token, f"Bearer {key}".encode(), names
        self._know = know

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on, or refuse it."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        reason = self._refuses(scope)
        if reason is None:
            self._know(scope["client"])
        app: Any = self._app if reason is None else PlainTextResponse(reason[1], reason[0], headers=_HEADERS)
        await app(scope, receive, send)

    def _refuses(self, scope: Scope) -> tuple[int, str] | None:
        hosts = [value.decode("latin-1") for name, value in scope["headers"] if name == b"host"]
        name = _name_in(hosts[0]) if len(hosts) == 1 else ""
        if not (name in self._names or _is_address(name)):
            return 400, "this page is not served under that host name: use localhost or an IP address instead"
        if scope["method"] not in {"GET", "HEAD"}:
            keys = [value for name, value in scope["headers"] if name == b"authorization"]
            if len(keys) != 1 or not compare_digest(keys[0], self._key):
                return 405, "this page is read-only"
        given = dict(part.split(b"=", 1) for part in scope["query_string"].split(b"&") if b"=" in part).get(
            b"token", b""
        )
        if not compare_digest(given, self._token.encode()):
            return 403, "the token is missing or wrong: use the URL that the pool gives"
        return None


def _name_in(host: str) -> str:
    """Return the name or the address in a Host header, without the port; empty if there is none."""
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _is_address(name: str) -> bool:
    try:
        ip_address(name)
    except ValueError:
        return False
    return True


@cache
def page() -> tuple[str, str]:
    """Return the page and its content security policy."""
    signs = json.dumps({state: colour.sign for state, colour in STATES.items()})
    slow = json.dumps({"enough": ENOUGH, "after": _STUCK, "factor": FACTOR})
    return page_and_policy(
        "page.html", scripts=("timeline.js", "page.js"), styles=("page.css",), connect="'self'", signs=signs, slow=slow
    )


class Dashboard:
    """
    A page that is served until `close`.

    :param address: ``host:port``, where port 0 means any free port
    :param snapshot: see `Watch`
    :param stacks: returns the stacks of the running tasks, longest-running first; None: not available
    :param statistics: returns statistics as dictionaries, or None if the pool has ended; None: not available
    :param cancel: cancels a task by force, given by its number and the process id of its worker, and returns whether it
        ran; None: tasks cannot be cancelled here
    :raises OSError: if it cannot listen on the address
    """

    def __init__(
        self,
        address: tuple[str, int],
        snapshot: Callable[[], dict[str, Any] | None],
        stacks: Callable[[], list[dict[str, Any]]] | None = None,
        statistics: Callable[[], dict[str, Any] | None] = lambda: None,
        cancel: Callable[[int, int], bool] | None = None,
    ) -> None:
        self._stacks, self._cancel = stacks, cancel
        self._latest = Latest(statistics)
        self._watch = Watch(snapshot)
        family = socket.AF_INET6 if ":" in address[0] else socket.AF_INET
        self._sock = socket.create_server(address, family=family)
        host, port = self._sock.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host
        token, key = secrets.token_urlsafe(24), secrets.token_urlsafe(24)
        self.url = f"http://{name}:{port}/?token={token}"
        names = frozenset((address[0].lower(), "localhost"))
        routes = [Route("/", self._page), Route("/events", self._events), Route("/stacks", self._all_stacks)]
        routes.append(Route("/statistics", self._statistics))
        routes.append(Route("/cancel", self._cancel_task, methods=["POST"]))
        strangers = Strangers()
        config = uvicorn.Config(
            Guard(Starlette(routes=routes), token, key, names, strangers.know),
            log_config=None,
            access_log=False,
            server_header=False,
            lifespan="off",
            loop="asyncio",
            http=strangers.protocol(H11Protocol),
            backlog=BACKLOG,
            ws="none",
            timeout_graceful_shutdown=1,
            limit_concurrency=4 * _VIEWERS,
        )
        self._server = _Server(config)
        self._loop = asyncio.new_event_loop()
        self._loop.set_exception_handler(complain)
        self._pid = os.getpid()
        _open.add(self)
        self._thread = threading.Thread(target=self._run, name="woolexec-page", daemon=True)
        self._thread.start()
        self._record = pool_records.write(self.url, key)

    def _run(self) -> None:
        with contextlib.closing(self._loop), contextlib.closing(self._sock):
            self._loop.run_until_complete(self._server.serve([self._sock]))

    def close(self) -> None:
        """Tell the viewers that the pool has ended, and stop serving."""
        if os.getpid() != self._pid:  # this is a forked child, and the page is its parent's
            return
        if self._record is not None:
            self._record.unlink(missing_ok=True)
        self._server.should_exit = True
        with contextlib.suppress(RuntimeError):  # its loop has ended
            self._loop.call_soon_threadsafe(self._watch.close)
        if threading.current_thread() is not self._thread:
            self._thread.join(5.0)

    async def _page(self, _: Request) -> Response:
        text, policy = page()
        headers = {**_HEADERS, "Content-Security-Policy": policy}
        return Response(text, media_type="text/html; charset=utf-8", headers=headers)

    async def _events(self, _: Request) -> Response:
        if self._watch.is_full:
            return PlainTextResponse("too many look at this page already", 503, headers=_HEADERS)
        return StreamingResponse(self._watch.events(), media_type="text/event-stream", headers=_HEADERS)

    async def _statistics(self, _: Request) -> Response:
        found = self._latest.get()
        if found is None:
            return PlainTextResponse("the pool has ended, or has none", 410, headers=_HEADERS)
        return _json(found)

    async def _all_stacks(self, _: Request) -> Response:
        if self._stacks is None:
            return PlainTextResponse("this pool cannot show them", 501, headers=_HEADERS)
        return _json(await asyncio.to_thread(self._stacks))

    async def _cancel_task(self, request: Request) -> Response:
        about = [request.query_params.get(name, "") for name in ("task", "pid")]
        if self._cancel is None or not all(re.fullmatch("[0-9]{1,19}", each) for each in about):
            return PlainTextResponse("no such task can be cancelled here", 501, headers=_HEADERS)
        return _json(await asyncio.to_thread(self._cancel, *map(int, about)))


_open: WeakSet[Dashboard] = WeakSet()


def _forget() -> None:
    """Close sockets in a forked child, which would keep the address in use after the parent has ended."""
    for page in list(_open):
        page._sock.close()


at_fork(after_in_child=_forget)


class _Server(uvicorn.Server):
    """A server that does not change the program's signal handlers."""

    @contextlib.contextmanager
    def capture_signals(self) -> Any:
        """Do nothing."""
        yield
