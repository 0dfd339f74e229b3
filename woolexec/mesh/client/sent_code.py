"""Sends functions over one link: their definitions, the code archives that they need, and the program's settings."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.mesh.link.outbox import Outbox, parts_of
from woolexec.wire.frames import Code, Define, Settings, encode
from woolexec.wire.payload import attach
from woolexec.wire.pickling import dumps_inline

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.core.call import Function
    from woolexec.worker.setup import Setup

_PIECE = 1 << 19
"""Bytes of code per frame."""


class SentCode:
    """
    Sends archives and settings once, before the first function that needs them.

    :param archive: returns the archive with this digest, or None
    :param setup: what workers run before this client's first function; wrapped around each function
    :param settings: returns the settings of the program and of its workers
    :param outbox: the outbox of the link
    """

    def __init__(
        self,
        archive: Callable[[str], bytes | None],
        setup: Setup | None,
        settings: Callable[[], Settings],
        outbox: Outbox,
    ) -> None:
        self._archive, self._setup, self._outbox = archive, setup, outbox
        self._settings: Callable[[], Settings] | None = settings
        self._sent: set[str] = set()
        if setup is not None:
            self._send(setup.digests)

    def definition(self, slot: int, function: Function) -> bytes:
        """Return the encoded frame that defines a function; the archives that it needs are sent before it."""
        frame = Define(function=slot, name=function.name)
        payload = function.payload
        if function.needs:
            from woolexec.wire.main_module import WithNeeds

            needs = [[*map(bytes, parts_of(need.payload))] for need in function.needs]
            payload = dumps_inline(WithNeeds([*map(bytes, parts_of(payload))], needs))
        settings, self._settings = self._settings, None
        if settings is not None:
            of_program = settings()
            if of_program != Settings():
                self._outbox.put(encode(of_program))
        self._send(function.code)
        attach(frame, payload if self._setup is None else self._setup.wrap(parts_of(payload)), files=False)
        return encode(frame)

    def _send(self, digests: Sequence[str]) -> None:
        """Send the archives that the peer does not have."""
        for digest in digests:
            data = None if digest in self._sent else self._archive(digest)
            if data is None:
                continue
            self._sent.add(digest)
            for start in range(0, len(data), _PIECE):
                last = start + _PIECE >= len(data)
                self._outbox.put(encode(Code(digest=digest, data=data[start : start + _PIECE], last=last)))
