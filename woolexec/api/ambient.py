"""The pool of a block, which `current_executor` finds."""

from __future__ import annotations

from contextvars import ContextVar

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.api.pool_executor import PoolExecutor

ambient: ContextVar[PoolExecutor | None] = ContextVar("woolexec_ambient", default=None)
"""The pool of the innermost ``with`` or ``async with`` block around the running code."""
