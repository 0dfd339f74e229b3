"""
The frames with which peers report when calls ran; links only.

They are in a separate module because workers do not need them, and import the other frames when they start.
"""

from __future__ import annotations

from woolexec.wire.frames import Frame
from woolexec.wire.protobuf import BOOL, DOUBLE, FIXED64, STRING, UINT


class Trace(Frame, number=44):
    """Start or stop reporting calls of this client when they end."""

    on: bool = BOOL(1)
    asked: float = DOUBLE(2)


class Clock(Frame, number=45):
    """The answer to Trace: the time of the peer's clock."""

    asked: float = DOUBLE(1)
    now: float = DOUBLE(2)


class Ran(Frame, number=46):
    """A call of this client has ended, here or at a peer that it was passed on to."""

    call: int = FIXED64(1)
    name: str = STRING(2)
    outcome: str = STRING(3)
    count: int = UINT(4)
    host: str = STRING(5)
    pid: int = UINT(6)
    row: int = UINT(7)
    parent_pid: int = UINT(8)
    parent_row: int = UINT(9)
    submitted: float = DOUBLE(10)
    sent: float = DOUBLE(11)
    began: float = DOUBLE(12)
    ended: float = DOUBLE(13)
