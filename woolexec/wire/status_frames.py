"""The frames with which a peer tells an operator what it does; links only, and apart from those that workers import."""

from __future__ import annotations

from woolexec.wire.frames import Frame
from woolexec.wire.protobuf import FIXED64, STRING, STRINGS, UINT


class Status(Frame, number=47):
    """Report the statistics of all clients."""

    request: int = FIXED64(1)


class Stated(Frame, number=48):
    """The answer: of each client its statistics as JSON, and whose they are."""

    request: int = FIXED64(1)
    statistics: tuple[str, ...] = STRINGS(2)
    client: tuple[str, ...] = STRINGS(3)
    left_out: int = UINT(4)
    refused: str = STRING(5)
