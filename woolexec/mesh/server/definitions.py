"""The functions and the chunks that a client has sent to a peer, and that its calls refer to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from woolexec.core.call import LANES, LIFE, Chunk, Function
from woolexec.engine.transport import SLOTS
from woolexec.errors import ProtocolError

if TYPE_CHECKING:
    from woolexec.mesh.link.arriving import Arriving
    from woolexec.mesh.server.byte_quota import ByteQuota
    from woolexec.mesh.server.kept_values import KeptValues
    from woolexec.wire.frames import Define, Start
    from woolexec.wire.payload import File, Parts


class Definitions:
    """
    The functions and chunks of one client.

    :param arriving: the received large payloads
    :param quota: counts the bytes
    :param values: the values that the chunks refer to
    """

    def __init__(self, arriving: Arriving, quota: ByteQuota, values: KeptValues) -> None:
        self._arriving, self._quota, self._values = arriving, quota, values
        self.slots: dict[int, Function] = {}
        self._families: dict[int, object] = {}  # by slot: workers keep only the last function of each
        self._chunks: dict[bool, Chunk] = {}  # the last one of plain calls, and of calls in a lane

    def taken(self, frame: Any) -> bytes | File | Parts:
        """Return a payload that must have arrived; if it could not be received, the error ends the link."""
        payload = self._arriving.take(frame)
        if isinstance(payload, OSError):
            raise payload
        return payload

    def define(self, frame: Define) -> None:
        """
        Store a function in a slot; forget the oldest one, if a client uses more slots than woolexec's clients do.

        :raises ProtocolError: if there is no room for it
        """
        if frame.function not in self.slots and len(self.slots) > SLOTS:
            oldest = next(iter(self.slots))
            del self.slots[oldest]
            self._families.pop(oldest, None)
            self._quota.drop(oldest)
        # Not interned: the run time of a function is measured for each link separately.
        name = frame.name or "a task of another process"
        function = Function(self.taken(frame), name)
        self._quota.keep(frame.function, len(function.payload) + len(frame.name))
        self.slots[frame.function] = function
        function.family = self._families.setdefault(frame.function, object())

    def function(self, frame: Start) -> Function:
        """
        Return the function of a call.

        :raises ProtocolError: if its slot is empty, or its lane does not exist
        """
        function = self.slots.get(frame.function)
        if function is None:
            raise ProtocolError(f"slot {frame.function} has no function")
        if frame.lane not in LANES and frame.lane != LIFE:
            raise ProtocolError(f"there is no lane {frame.lane}")
        if frame.lane != function.lane:
            family = function.family
            function = self.slots[frame.function] = Function(function.payload, function.name, frame.lane)
            function.family = family
        return function

    def chunk(self, function: Function, frame: Start, receiver: Any) -> Chunk:
        """
        Return the chunk of a span: the one that comes with it, or the last one.

        :raises ProtocolError: if there is none, or no room for it
        """
        in_lane = bool(frame.lane)
        if not frame.again:
            payload: Any = self._arriving.take(frame)
            if frame.values and len(frame.call) == 1:  # it is sent whole each time
                return Chunk(function, self._values.bind(payload, frame.values), 0, receiver)
            self._quota.keep(("chunk", in_lane), 0 if isinstance(payload, OSError) else len(payload))
            self._chunks[in_lane] = Chunk(function, payload, 0, receiver)
        chunk = self._chunks.get(in_lane)
        if chunk is None or len(frame.call) != 1:
            raise ProtocolError("received a span without its chunk")
        return chunk

    def clear(self) -> None:
        """Forget everything."""
        self.slots.clear()
        self._families.clear()
        self._chunks.clear()
