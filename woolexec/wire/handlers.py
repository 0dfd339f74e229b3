"""The handlers of frames: each role has one table of them."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:  # typing costs 6 ms of a worker's start
    from collections.abc import Callable, Mapping
    from typing import Any, NoReturn

    from woolexec.wire.protobuf import Message


class Handlers(dict[type, "Callable[..., Any]"]):
    """
    The handlers of one role, by class of frame; any other class raises `ProtocolError`.

    :param role: the receiver of the frames, for the message
    """

    def __init__(self, role: str, handlers: Mapping[type[Message], Callable[..., Any]]) -> None:
        super().__init__(handlers)
        self._role = role

    def handle(self, frame: Message) -> Any:
        """Call the handler of a frame; return its result."""
        return self[frame.__class__](frame)

    def __missing__(self, kind: type) -> NoReturn:
        from woolexec.errors import ProtocolError

        raise ProtocolError(f"{self._role} does not accept {kind.__name__} frames")
