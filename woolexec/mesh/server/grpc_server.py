"""
A gRPC server whose accepting loop only sees registered methods.

The loop of grpc.aio decodes the path of each call, and ends if it is not UTF-8.  So woolexec's methods are registered
with grpc's core, which compares their paths as bytes, and calls of all other methods are refused before the loop sees

them.  This uses private parts of grpc.  If these are missing or different, or once the loop of such a server has ended,
which `Listener` notices, an ordinary server is used.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Services = Mapping[str, Mapping[str, Any]]  # by names, the methods and what handles each


def make_server(grpc: Any, options: Sequence[tuple[str, Any]], services: Services, *, is_ordinary: bool = False) -> Any:
    """Create a server for these services, without starting it; with `is_ordinary`, without private parts of grpc."""
    try:
        server = None if is_ordinary else _strict_server(grpc, options)
    except (AttributeError, TypeError, ImportError):  # another version of grpc
        server = None
    if server is None:
        server = grpc.aio.server(options=options)
        for name, methods in services.items():
            server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, methods),))
    else:
        for name, methods in services.items():
            server.add_registered_method_handlers(name, methods)
    return server


def _strict_server(grpc: Any, options: Sequence[tuple[str, Any]]) -> Any:
    """
    Return a server that accepts calls of registered methods only; None if this grpc has no such methods.

    :raises AttributeError: like `TypeError` and `ImportError`: if this version of grpc is not a known one
    """
    kind = _kind_of(grpc)
    if kind is None:
        return None
    server = object.__new__(grpc.aio._server.Server)
    server._loop = asyncio.get_running_loop()
    server._server = kind(server._loop, None, (), None, tuple(options), None)
    return server


@cache
def _kind_of(grpc: Any) -> type[Any] | None:
    cygrpc = grpc._cython.cygrpc
    base: Any = cygrpc.AioServer
    if not hasattr(base, "_request_registered_call"):
        return None

    class Strict(base):  # type: ignore[misc]  # it is known at run time only
        async def _request_call(self) -> Any:
            """Refuse calls of methods that are not registered, and return none."""
            loop = asyncio.get_running_loop()
            refusing = set()
            while True:
                state = await super()._request_call()
                if state is None:
                    raise TypeError("grpc has accepted a call and returned none")
                refusal = loop.create_task(_refuse(grpc, cygrpc._ServicerContext(state, None, None, loop)))
                refusing.add(refusal)
                refusal.add_done_callback(refusing.discard)

    return Strict


async def _refuse(grpc: Any, context: Any) -> None:
    try:
        await context.abort(grpc.StatusCode.UNIMPLEMENTED, "there is no such method")
    except Exception:  # `abort` raises; so does a client that has left
        return
