"""
The gRPC health service, of which probes ask whether to send work here: ``grpc.health.v1.Health``.

Its two messages are one field each, so they are written by hand.  That of the caller is not read: it names a service,
and there is one; and grpc reads messages whole, however large they are.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from woolexec.mesh.grpc_module import load_grpc

_SERVING, _NOT_SERVING = b"\x08\x01", b"\x08\x02"
"""A HealthCheckResponse with field 1, `status`."""

_WATCHERS = 100
"""So many may watch at once."""

_LOOK = 0.5
"""How often a watched status is looked at, in seconds."""


class Health:
    """Says SERVING until `serving` is false; it tells strangers nothing else."""

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
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many watch already")
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

    def handlers(self) -> Any:
        """Return what a server takes."""
        grpc = load_grpc()

        return grpc.method_handlers_generic_handler(
            "grpc.health.v1.Health",
            {
                "Check": grpc.stream_unary_rpc_method_handler(self._check),
                "Watch": grpc.stream_stream_rpc_method_handler(self._watch),
            },
        )
