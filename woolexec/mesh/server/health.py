"""
The gRPC health service, which tells probes whether to send work here: ``grpc.health.v1.Health``.

Its two messages have one field each, so they are encoded by hand.  The request is not read: it only names a service,
and there is only one.  Besides, grpc would read the whole message, regardless of its size.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from woolexec.mesh.grpc_module import load_grpc

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""A HealthCheckResponse with its field 1, `status`."""

_WATCHERS = 100
"""Maximum number of simultaneous watchers."""

_LOOK = 0.5
"""How often a watched status is checked, in seconds."""


class Health:
    """Reports SERVING until `serving` is false; strangers learn nothing else."""

    def __init__(self) -> None:
        self.serving = True
        self._watchers = 0

    @property
    def _status(self) -> bytes:
        return _SERVING if self.serving else _NOT_SERVING

    async def _check(self, _requests: object, _context: object) -> bytes:
        return self._status

    async def _watch(self, _requests: object, context: Any) -> AsyncIterator[bytes]:
        grpc = load_grpc()

        if self._watchers >= _WATCHERS:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watchers already")
        self._watchers += 1
        try:
            told = None
            while True:
                if self._status != told:
                    told = self._status
                    yield told
                await asyncio.sleep(_LOOK)
        finally:
            self._watchers -= 1

    def services(self) -> dict[str, dict[str, Any]]:
        """Return its two calls, with what handles them."""
        grpc = load_grpc()

        check = grpc.stream_unary_rpc_method_handler(self._check)
        watch = grpc.stream_stream_rpc_method_handler(self._watch)
        return {"grpc.health.v1.Health": {"Check": check, "Watch": watch}}
