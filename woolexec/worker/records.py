"""What the engine and the template say to each other; a file of its own, for the engine needs no more of a worker."""

from __future__ import annotations

import struct

RECORD = struct.Struct("<IIq")
"""Operation, worker, value."""

CONFIGURE, SPAWN, KILL, FORKED, EXITED, FAILED, STARTED = range(1, 8)
