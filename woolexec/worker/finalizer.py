"""Run the finalizer of an executor in a worker that is about to exit."""

from __future__ import annotations

from woolexec.wire.unpickling import loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def run(payload: Any) -> None:
    """Unpickle a function and call it; log what it raises, because no caller waits for it."""
    try:
        loads(payload)()
    except BaseException:  # user code
        import logging

        logging.getLogger("woolexec").exception("the finalizer failed")
