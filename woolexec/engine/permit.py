"""
The direct-send permit: lets one submitting thread write one call to an idle worker itself, without waking the engine.

The engine grants a permit, with the number of the call that may use it, when a worker is idle and nothing waits.  It
revokes the permit before it sends that worker anything else.  One `dict.setdefault`, which is atomic, decides which of
the two is first: it stores either the call that uses the permit or the revocation, and returns what was stored.

::

    submitting thread                              the engine
    1. read the permit                             a. setdefault(key, None): revoked, or the call that used it
    2. read the slot of the function               b. record that call as outstanding
    3. in one C call:                              c. do not write until `is_written`, or until the worker
         setdefault(key, call)                        has started the call
         write, if that returned this call         d. change slots, write
    4. is_written = True

- The slot is still valid when 3 uses the permit: slots change only in d, after a, and then 3 is too late.
- Nothing runs between using the permit and writing: no other thread, and no signal handler, which could wait for the
  engine while the engine waits for the end of the write.  `sendmsg` takes its buffers only from iterators of C
  functions, and so runs no bytecode.  A permit that was already used yields an empty buffer, which writes nothing.
- Where `sendmsg` does not do that, `works` is false: no permits are granted, and every call goes through the queue.
"""

from __future__ import annotations

from operator import is_, mul

from woolexec.platform.ipc import socketpair
from woolexec.wire.fast_frames import encode_ticket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from woolexec.core.call import Call

_KEY = (0,)


class Permit:
    """
    The permission to write one call, under this number.

    `is_written` is true when the call that used the permit has been written, or its worker is gone.
    """

    __slots__ = ("_first", "is_written", "number", "ticket")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ticket = encode_ticket(number)
        self.is_written = False
        self._first: dict[int, Any] = {}

    @property
    def user(self) -> Call | None:
        """The call that has used the permit, if any."""
        return self._first.get(0)

    def use(self, sock: socket.socket, call: Call, frames: bytes) -> bool:
        """Write frames for a call, unless the permit was used or revoked; return whether the call used it."""
        used = map(is_, (call,), map(self._first.setdefault, _KEY, (call,)))
        try:
            sock.sendmsg(map(mul, (frames,), used))
        except OSError:  # the worker died: the engine finds the call, and sees that it was not started
            pass
        if self._first.get(0) is not call:
            return False
        self.is_written = True
        return True

    def revoke(self) -> Call | None:
        """Revoke the permit; return the call that has used it, if any."""
        return self._first.setdefault(0, None)


def _works() -> bool:
    """Return whether a permit works here, by using one."""
    near, far = socketpair()
    far.setblocking(False)
    permit, one, other = Permit(1), object(), object()
    try:
        answers = [permit.use(near, call, b"frames") for call in (one, other)]  # type: ignore[arg-type]
        return answers == [True, False] and far.recv(64) == b"frames"
    except Exception:  # another implementation of `sendmsg` may raise anything
        return False
    finally:
        near.close()
        far.close()


works = _works()
"""Permits can be used in this interpreter."""
