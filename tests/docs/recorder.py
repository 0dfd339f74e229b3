"""Records which functions of the package are called, and in which order: in the caller, and in its workers."""

import sys
import threading
import time
from pkgutil import resolve_name

events = []


def begin(names):
    """Record the calls of these functions in this thread, and in threads that are started from now on."""
    codes = {resolve_name(f"woolexec.{name}").__code__: name for name in names}

    def note(frame, event, arg):
        if event == "call" and frame.f_code in codes:
            # The monotonic clock is one for all processes of a machine.
            events.append((time.monotonic_ns(), codes[frame.f_code], threading.current_thread()))

    events.clear()
    threading.setprofile(note)
    sys.setprofile(note)


def end():
    """Stop recording."""
    threading.setprofile(None)
    sys.setprofile(None)


def end_in_worker():
    """Stop recording, and return when each function was called."""
    end()
    return [(when, name) for when, name, _ in events]
