"""The frames with which operators watch a peer and end tasks; links only, and not imported by workers."""

from __future__ import annotations

from woolexec.wire.frames import Frame
from woolexec.wire.protobuf import BOOL, FIXED64, STRING, STRINGS, UINT


class Status(Frame, number=47):
    """Report the statistics of all clients."""

    request: int = FIXED64(1)


class Stated(Frame, number=48):
    """The answer: the statistics of each client as JSON, with the client's identity."""

    request: int = FIXED64(1)
    statistics: tuple[str, ...] = STRINGS(2)
    client: tuple[str, ...] = STRINGS(3)
    left_out: int = UINT(4)
    refused: str = STRING(5)


class CancelTask(Frame, number=49):
    """End a task of any client, by force."""

    request: int = FIXED64(1)
    task: int = FIXED64(2)
    pid: int = UINT(3)


class TaskCancelled(Frame, number=50):
    """The answer: whether the task was running."""

    request: int = FIXED64(1)
    done: bool = BOOL(2)
    refused: str = STRING(3)
