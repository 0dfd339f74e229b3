"""How a task of an event loop waits for a call, and what happens to the call when the wait is cancelled."""

from __future__ import annotations

from collections.abc import Sequence

from woolexec.futures.call_future import CallFuture
from woolexec.futures.latch import Latch
from woolexec.futures.loop_waiters import checkpoint, make_waiter, see
from woolexec.wire import context_vars

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeVar

    T = TypeVar("T")

GRACE = 2.0
"""Seconds that a cancelled task waits for its call to end."""


async def outcome(future: CallFuture[T], *, abandon: bool | None) -> T:
    """
    Wait for the outcome of a call; if the wait is cancelled, cancel the call and wait for its end.

    :param abandon: let a running call continue if the wait is cancelled; None: as its `abandon_on_cancel` says
    :raises Exception: what the call raised
    """
    latch = future.latch
    if not future.done():
        waiter = make_waiter()
        if latch.add(waiter):
            try:
                await waiter.wait()
            except BaseException:
                latch.remove(waiter)
                await _cancel(future, abandon=future.abandons if abandon is None else abandon)
                raise
    else:
        await checkpoint()
    kept = future.kept
    if kept is not None:
        await _arrival(kept.fetch())
    if future.context:
        context_vars.restore(future.context)
    try:
        return future.result()
    finally:
        del future  # break the cycle with the exception's traceback


async def _arrival(latch: Latch) -> None:
    """Wait for a value that a peer keeps; it is fetched even if the wait is cancelled."""
    waiter = make_waiter()
    if latch.add(waiter):
        try:
            await waiter.wait()
        finally:
            latch.remove(waiter)


CallFuture._wait_in_loop = outcome


async def all_done(futures: Sequence[CallFuture[Any]], *, abandon: bool) -> None:
    """Wait until all calls are done, whatever their outcomes; if the wait is cancelled, cancel the calls."""
    for future in futures:
        waiter = make_waiter()
        if not future.done() and future.latch.add(waiter):
            try:
                await waiter.wait()
            except BaseException:
                for each in futures:
                    await _cancel(each, abandon=abandon)
                raise


async def _cancel(future: CallFuture[Any], *, abandon: bool) -> None:
    """Cancel a call: a waiting one never starts, a running one is ended unless `abandon`; a coroutine always is."""
    call = future.outstanding_call
    if not future.is_lane:
        try:
            if await _is_cancelled(future, force=False) or abandon:
                return
        except BaseException:  # asyncio cancels a second time
            if not abandon:
                future.cancel_soon(force=True)
            raise
    if not await _is_cancelled(future, force=True):
        return
    ended: Latch | None = future.ended or getattr(getattr(call, "receiver", None), "ended", None)
    if ended is not None:  # a coroutine or a stream, which may have to clean up
        await see(ended, GRACE)


async def _is_cancelled(future: CallFuture[Any], *, force: bool) -> bool:
    """Cancel a future, like its `cancel`; a peer that must be asked has `GRACE` seconds to answer."""
    answer = future.cancel_soon(force=force)
    if not isinstance(answer, Latch):
        return answer
    await see(answer, GRACE)
    return future.cancelled()
