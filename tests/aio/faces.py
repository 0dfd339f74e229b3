"""Both interfaces of a stream behind one: test bodies are written once, and run with `for` and with `async for`."""

from contextlib import asynccontextmanager

import anyio

from woolexec import PeerPoolExecutor


class Ended(Exception):
    """The stream has ended; with the value that a `StopIteration` carried."""


class Plain:
    """`send`, `throw`, `close` and `for`, outside of any event loop."""

    name = "plain"

    def run(self, body, *args):
        try:
            body(*args).send(None)  # nothing in it waits
        except StopIteration:
            return
        raise AssertionError("the body waits for an event loop")

    def run_alone(self, body, workers=1):
        with PeerPoolExecutor(workers) as pool:
            self.run(body, pool)

    @asynccontextmanager
    async def open(self, pool, fn, *args, prefetch=0):
        with pool.stream(fn, *args, prefetch=prefetch) as stream:
            yield stream

    async def start(self, pool, fn, *args):
        return pool.submit(fn, *args).result()

    async def all(self, stream):
        return list(stream)

    async def next(self, stream):
        return self._last(stream.__next__)

    async def send(self, stream, value):
        return self._last(stream.send, value)

    async def throw(self, stream, error):
        return self._last(stream.throw, error)

    async def close(self, stream):
        stream.close()

    def _last(self, method, *args):
        try:
            return method(*args)
        except StopIteration as stop:
            raise Ended(stop.value) from None


class Asynchronous:
    """`asend`, `athrow`, `aclose` and `async for`, on one backend."""

    def __init__(self, backend):
        self.name = backend

    def run(self, body, *args):
        anyio.run(body, *args, backend=self.name)

    def run_alone(self, body, workers=1):
        async def main():
            async with PeerPoolExecutor(workers) as pool:
                await body(pool)

        self.run(main)

    def open(self, pool, fn, *args, prefetch=0):
        return pool.stream(fn, *args, prefetch=prefetch)

    async def start(self, pool, fn, *args):
        return await pool.run(fn, *args)

    async def all(self, stream):
        return [item async for item in stream]

    async def next(self, stream):
        return await self._last(stream.__anext__())

    async def send(self, stream, value):
        return await self._last(stream.asend(value))

    async def throw(self, stream, error):
        return await self._last(stream.athrow(error))

    async def close(self, stream):
        await stream.aclose()

    async def _last(self, step):
        try:
            return await step
        except StopAsyncIteration:
            raise Ended from None


FACES = [Plain(), Asynchronous("asyncio"), Asynchronous("trio")]
