"""The event loop of an engine's thread: asyncio's, with less work in each iteration."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import TYPE_CHECKING

from woolexec.platform.lean_selector import EVENT_READ, EVENT_WRITE, LeanSelector

if TYPE_CHECKING:
    from woolexec.platform.lean_selector import SelectorKey


class EventLoop(asyncio.SelectorEventLoop):
    """
    An event loop that runs the callback of a descriptor as soon as it finds it ready.

    A task that the callback wakes then runs in the same iteration; asyncio's loop would need another one.
    """

    time = staticmethod(monotonic)  # asyncio's loop wraps this in a function

    def __init__(self) -> None:
        super().__init__(LeanSelector())

    def _process_events(self, event_list: list[tuple[SelectorKey, int]]) -> None:
        for key, events in event_list:
            reader, writer = key.data
            if reader is not None and events & EVENT_READ and not reader.cancelled():  # else an earlier one removed it
                reader._run()
            if writer is not None and events & EVENT_WRITE and not writer.cancelled():
                writer._run()
