"""Collects the reports of a discovery in a list."""

import asyncio
import contextlib

from tests.mesh.conftest import PATIENCE


class Heard(list):
    """Events; a test waits for the one it wants."""

    def __init__(self):
        self._grown = asyncio.Condition()

    async def add(self, event):
        async with self._grown:
            self.append(event)
            self._grown.notify_all()

    async def first(self, wanted):
        """Wait for an event for which this is true; events before it are dropped."""
        async with self._grown, asyncio.timeout(PATIENCE):
            while True:
                for at, event in enumerate(self):
                    if wanted(event):
                        del self[: at + 1]
                        return event
                await self._grown.wait()


@contextlib.asynccontextmanager
async def watching(discovery):
    """Watch for as long as the context lasts."""
    heard = Heard()

    async def listen():
        async with contextlib.aclosing(discovery.watch()) as events:
            async for event in events:
                await heard.add(event)

    async with asyncio.TaskGroup() as group:
        task = group.create_task(listen())
        yield heard
        task.cancel()
