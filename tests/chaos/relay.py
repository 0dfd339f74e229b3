"""
A TCP relay between a client and a peer, which can be slow, silent or cut.

::

    client --- TCP ---> relay --- TCP ---> peer

It passes bytes and looks into none of them.  It needs no rights, unlike packets that are dropped on the way.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

_SIZE = 1 << 16


class Relay:
    """
    Listens on a port of its own and connects to a port of a peer; it can be used from any thread.

    :param target: port of the peer
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay = 0.0
        """Seconds for which each piece of at most 64 KiB is held, in both directions."""
        self.passed = 0
        """Number of bytes that were passed on."""
        self._is_down = False
        self._open = asyncio.Event()  # cleared while the way is silent
        self._ended = asyncio.Event()
        self._writers: set[asyncio.StreamWriter] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="relay")
        self._listening = threading.Event()

    @property
    def address(self) -> str:
        """Where clients connect."""
        return f"127.0.0.1:{self.port}"

    def cut(self) -> None:
        """Reset all connections, and each new one until `mend`."""
        self._is_down = True
        self._ask(self._reset)

    def silence(self) -> None:
        """Pass nothing on until `mend`, and keep connections open."""
        self._ask(self._open.clear)

    def mend(self) -> None:
        """Pass on what was held, and accept connections."""
        self._is_down, self.delay = False, 0.0
        self._ask(self._open.set)

    def __enter__(self) -> Self:
        self._thread.start()
        self._listening.wait()
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._ask(self._ended.set)
        self._thread.join()

    # -- the thread ---------------------------------------------------------------------------------------------

    def _ask(self, act: Callable[[], object]) -> None:
        self._loop.call_soon_threadsafe(act)

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._serve())

    async def _serve(self) -> None:
        self._open.set()
        server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self.port = server.sockets[0].getsockname()[1]
        self._listening.set()
        await self._ended.wait()
        server.close()
        self._reset()
        self._open.set()
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()}, return_exceptions=True)

    def _reset(self) -> None:
        for writer in self._writers:
            writer.transport.abort()

    async def _connected(self, near: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        with self._kept(back):
            if self._is_down:
                return
            try:
                far, there = await asyncio.open_connection("127.0.0.1", self.target)
            except OSError:
                return
            with self._kept(there):
                await asyncio.gather(self._pump(near, there), self._pump(far, back))

    @contextlib.contextmanager
    def _kept(self, writer: asyncio.StreamWriter) -> Iterator[None]:
        self._writers.add(writer)
        try:
            yield
        finally:
            self._writers.discard(writer)
            writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            while data := await reader.read(_SIZE):
                await asyncio.sleep(self.delay)
                await self._open.wait()
                writer.write(data)
                await writer.drain()
                self.passed += len(data)
            writer.write_eof()
