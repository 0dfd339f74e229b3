"""The records that the engine and the fork server exchange; a separate module because the engine needs only these."""

from __future__ import annotations

import struct

RECORD = struct.Struct("<IIq")
"""Operation, worker, value."""

CONFIGURE, SPAWN, KILL, FORKED, EXITED, FAILED, STARTED, DUMP = range(1, 9)
