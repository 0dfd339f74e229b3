"""
A permit: lets one submitting thread write one call to an idle worker by itself, so that no engine thread wakes.

The engine grants a permit, with the number of the call that may use it, when a worker is idle and nothing waits.  It
revokes the permit before it sends that worker anything else.  One `dict.setdefault`, which is atomic, decides who comes
first: it stores the call that uses the permit, or that the engine has revoked it, and tells everybody which.

::

    submitting thread                              the engine
    1. read the permit                             a. setdefault(key, None): revoked, or the call that used it
    2. read the slot of the function               b. book that call
    3. in one C call:                              c. wait with writing until `is_written`, or until the worker
         setdefault(key, call)                        has started the call
         write, if that gave back this call        d. change slots, write
    4. is_written = True

- The slot is still right when 3 uses the permit: slots change in d only, after a, and then 3 is too late.
- Nothing comes between using the permit and writing, neither another thread nor a signal handler, which could wait for
  the engine while the engine waits for the end of the write.  `sendmsg` draws its pieces from iterators of C functions
  alone, and so runs no bytecode.  A permit that was used already gives an empty piece, which writes nothing.
- Where `sendmsg` does not do that, `works` is false: no permits are granted, and every call goes through the queue.
"""

from __future__ import annotations

from operator import is_, mul

from woolexec.wire.codec import encode_ticket

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from typing import Any

    from woolexec.core.call import Call
else:  # `socket` takes longer to import than most of what a pool begins with
    import _socket as socket

_KEY = (0,)


class Permit:
    """
    The permission to write the call of this number.

    `is_written` says that the call which used it has been written, or that its worker is gone.
    """

    __slots__ = ("_first", "is_written", "number", "ticket")

    def __init__(self, number: int) -> None:
        self.number = number
        self.ticket = encode_ticket(number)
        self.is_written = False
        self._first: dict[int, Any] = {}

    @property
    def user(self) -> Call | None:
        """The call that has used it."""
        return self._first.get(0)

    def use(self, sock: socket.socket, call: Call, frames: bytes) -> bool:
        """Write frames for a call, unless the permit was used or revoked; say whether the call used it."""
        used = map(is_, (call,), map(self._first.setdefault, _KEY, (call,)))
        try:
            sock.sendmsg(map(mul, (frames,), used))
        except OSError:  # the worker died: the engine finds the call, and that it was not started
            pass
        if self._first.get(0) is not call:
            return False
        self.is_written = True
        return True

    def revoke(self) -> Call | None:
        """End it; return the call that has used it, if one has."""
        return self._first.setdefault(0, None)


def _works() -> bool:
    """Try it."""
    near, far = socket.socketpair()
    far.setblocking(False)
    permit, one, other = Permit(1), object(), object()
    try:
        answers = [permit.use(near, call, b"frames") for call in (one, other)]  # type: ignore[arg-type]
        return answers == [True, False] and far.recv(64) == b"frames"
    except Exception:  # whatever another implementation of `sendmsg` makes of it
        return False
    finally:
        near.close()
        far.close()


works = _works()
"""Permits can be used in this interpreter."""
