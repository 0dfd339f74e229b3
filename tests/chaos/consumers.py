"""Threads and an event loop of the caller, in which maps and streams are consumed while calls are submitted."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Any, Self

THREADS = 4
"""Number of maps and streams that are consumed at once in threads; more wait."""


class Consumers:
    """Runs functions in a few threads, and coroutines in a loop."""

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(THREADS, "consumer")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="consumer-loop")
        self._thread.start()

    def run(self, consume: Callable[[], Any]) -> Future[Any]:
        """Run a function in a thread."""
        return self._threads.submit(consume)

    def start(self, consume: Callable[[], Coroutine[Any, Any, Any]]) -> Future[Any]:
        """Run a coroutine in the loop."""
        return asyncio.run_coroutine_threadsafe(consume(), self._loop)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, exc: BaseException | None, tb: TracebackType | None) -> None:
        self._threads.shutdown(wait=exc is None)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.run_until_complete(self._loop.shutdown_asyncgens())
        self._loop.close()
