"""The actions that the scheduler decides on and the engine carries out."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, Protocol

    from woolexec.core.call import Call
    from woolexec.core.place import Place

    class Actions(Protocol):
        """The actions of an engine; each is done when the method returns, or is queued in the order of the calls."""

        def send(self, place: Place, calls: Sequence[Call]) -> None:
            """Send calls, if there are any, that were recorded as outstanding at a place."""

        def send_recall(self, place: Place, number: int, waiting: int) -> None:
            """
            Send the mark that a place answers with Recalled.

            :param number: the first call that was recalled; 0: none
            :param waiting: the Wait frame that this mark answers; 0: none
            """

        def start_worker(self, actor: Any = None, devices: Any = None) -> Any:
            """
            Start a worker, which joins the scheduler; return it, or None if that is impossible now.

            :param actor: the actor that it is for; None: it is for any calls
            :param devices: the devices that it has until its end: see `woolexec.core.devices`
            """

        def dismiss(self, worker: Any) -> None:
            """Let an idle worker exit."""

        def grant_permit(self, worker: Any, number: int) -> None:
            """Allow a submitting thread to send an idle worker one call, under this number."""

        def revoke_permit(self, worker: Any) -> None:
            """Revoke a worker's permit; record the call that was sent under it, if any, as outstanding."""

        def after(self, seconds: float, piece: Callable[[], object]) -> None:
            """Call a function later, then let the scheduler act."""
