"""
A gRPC server whose loop, which accepts calls, sees no method but ours.

The loop of grpc.aio decodes the path of each call, and ends if that is not UTF-8.  So our methods are registered with
grpc's core, which compares their paths as bytes, and calls of all others are refused here, before the loop sees them.

This uses what is private to grpc.  Where grpc does not have it, or it is made in another way, the server is an ordinary
one: also from when the loop of one of ours has ended, which `Listener` notices.
"""

from __future__ import annotations

import asyncio
from functools import cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Services = Mapping[str, Mapping[str, Any]]  # by names, the methods and what handles each


def make_server(grpc: Any, options: Sequence[tuple[str, Any]], services: Services, *, is_ordinary: bool = False) -> Any:
    """Make a server for these services, which has not been started; with `is_ordinary`, without what is private."""
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

    :raises AttributeError: as `TypeError` and `ImportError`: if this grpc is not made as those that we know
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
    except Exception:  # that is how a call is aborted, and how its end is told if the client has left
        return
