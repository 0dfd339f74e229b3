"""
The values of a client at a peer: those that it has sent, and outcomes of its calls that stay here.

A call that needs a value waits until that has arrived.  What stays here can be fetched by its client.  That, and what
the client says is to be shared, can be fetched by other peers that have its key, which only the client tells them.
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.mesh.link.outbox import ON_LINK, VALUES
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.frames import Drop, Keep, encode
from woolexec.wire.payload import File
from woolexec.wire.pickling import is_for_all
from woolexec.wire.values import LEAST_KEPT, Value, WithValues

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from woolexec.core.call import Call
    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.arriving import Arriving
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.mesh.server.byte_quota import ByteQuota
    from woolexec.mesh.server.fetching import Fetching
    from woolexec.wire.frames import Fetch, Pull
    from woolexec.wire.payload import Parts


_KEY = 16
"""Bytes of a key."""

_PULLS = 16
"""Maximum number of values that are being fetched for one client; further ones come through the client."""

_AHEAD = 16 << 20
"""Bytes of outcomes that wait to be sent, above which no more of them are added."""

_PAUSE = 0.01
"""How often that is checked, in seconds."""

_by_key: weakref.WeakValueDictionary[bytes, Value] = weakref.WeakValueDictionary()
"""The values in this process that can be fetched, of all clients."""


def _key_of(value: Value) -> bytes:
    """Return a new key by which a value can be fetched."""
    key = secrets.token_bytes(_KEY)
    _by_key[key] = value
    return key


class KeptValues:
    """
    The values of one client.

    A call may arrive before a value that it needs: large payloads are sent in parts, and small frames pass them.

    :param arriving: has the large payloads
    :param quota: counts the bytes
    :param outbox: for what the client asks for
    :param fetching: fetches values from other peers; None: that is not permitted here
    :param engine: runs the calls that need the values
    """

    def __init__(
        self,
        arriving: Arriving,
        quota: ByteQuota,
        outbox: Outbox,
        fetching: Fetching | None = None,
        engine: Hosted | None = None,
    ) -> None:
        self._arriving, self._quota, self._outbox = arriving, quota, outbox
        self._fetching, self._engine = fetching, engine
        self._asked: dict[tuple[int, bytes], None] = {}
        self._pulls: dict[int, asyncio.Task[None]] = {}
        self._values: dict[int, Value] = {}
        self._waiting: dict[Call, tuple[Sequence[Value], Callable[[Call], object]]] = {}

    def __len__(self) -> int:
        return len(self._values)

    def keep(self, frame: Keep) -> None:
        """
        Store a value, and hand on the calls that have all of theirs now.

        :raises ProtocolError: if there is no room for it beside others
        :raises OSError: if it could not be received
        """
        payload = self._arriving.take(frame, ON_LINK | frame.value)
        if isinstance(payload, OSError):
            raise payload
        self._store(frame.value, payload)
        if frame.share:
            self._offer(frame.value)

    def _offer(self, number: int) -> None:
        """Tell the client that a value is here, and the key by which other peers can fetch it."""
        self._outbox.put(encode(Keep(value=number, key=_key_of(self._value(number)))))

    def _store(self, number: int, payload: bytes | File | Parts) -> None:
        alone = all(value.payload is None for value in self._values.values())
        self._quota.keep(("value", number), len(payload), alone=alone)
        self._value(number).payload = payload
        for call, (values, hand_on) in list(self._waiting.items()):
            if all(value.payload is not None for value in values):
                del self._waiting[call]
                hand_on(call)

    def stay(self, number: int, payload: bytes | File | Parts) -> bytes:
        """
        Store the outcome of a call and return its key; return an empty one if it is to be sent home.

        It is, if it is small, if there is no room, or if it is about something that only its client can unpickle.
        """
        size = len(payload)
        if size < LEAST_KEPT or len(self._values) >= VALUES // 2 or not self._quota.may_stay(size):
            return b""
        try:
            if not is_for_all(payload):
                return b""
            if isinstance(payload, File) and is_scarce(payload.fd):
                payload = payload.take_in()
        except (OSError, ValueError):  # it cannot be read, or no memory is left
            return b""
        self._quota.stay(("value", number), size)
        value = self._value(number)
        value.payload = payload
        return _key_of(value)

    def fetch(self, frame: Fetch) -> None:
        """
        Send an outcome that has stayed here: this client's or, with its key, that of another.

        :raises ProtocolError: if more than one is asked for
        """
        if len(frame.value) != 1:
            raise ProtocolError("a client asks for other than one value in a frame")
        self._asked[frame.value[0], frame.key] = None
        if len(self._asked) == 1:
            self._serve()

    def _serve(self) -> None:
        """Send what was asked for, as fast as it is read."""
        while self._asked and self._outbox.unsent <= _AHEAD:
            number, key = next(iter(self._asked))
            del self._asked[number, key]
            value = _by_key.get(key) if key else self._values.get(number)
            if value is None or value.payload is None:
                self._outbox.put(encode(Drop(value=(number,))))
            else:
                self._outbox.put_frame(ON_LINK | number, Keep(value=number), value.payload)
        if self._asked and self._engine is not None:
            self._engine.links.after(_PAUSE, self._serve)

    def pull(self, frame: Pull) -> None:
        """Fetch a value from another peer, and say whether that was possible."""
        if self._fetching is None or len(self._pulls) >= _PULLS or frame.value in self._pulls:
            self._outbox.put(encode(Drop(value=(frame.value,))))
        else:
            self._pulls[frame.value] = asyncio.get_running_loop().create_task(self._pull(self._fetching, frame))

    async def _pull(self, fetching: Fetching, frame: Pull) -> None:
        try:
            payload = await fetching.fetch(frame)
            self._store(frame.value, payload)
        except Exception:  # it cannot be reached, there is no room, or there is a bug: calls wait for an answer
            self._outbox.put(encode(Drop(value=(frame.value,))))
        else:
            self._offer(frame.value)
        finally:
            if self._pulls.get(frame.value) is asyncio.current_task():
                del self._pulls[frame.value]
        if self._engine is not None:
            self._engine.wake()

    def drop(self, frame: Drop) -> None:
        """Forget values, but for those that a call still needs."""
        for number in frame.value:
            self._arriving.forget(ON_LINK | number)
            if self._outbox.withdraw(ON_LINK | number):  # it was asked for: a client that leaves waits for an answer
                self._outbox.put(encode(Drop(value=(number,))))
            if number in self._pulls:
                self._pulls.pop(number).cancel()
            self._values.pop(number, None)
            self._quota.drop(("value", number))

    def _value(self, number: int) -> Value:
        value = self._values.get(number)
        if value is None:
            if len(self._values) >= VALUES:
                raise ProtocolError(f"a client has more than {VALUES} values here")
            value = self._values[number] = Value(None)
        return value

    def bind(self, payload: Any, numbers: Sequence[int]) -> Any:
        """Return the payload of a call that refers to the values with these numbers."""
        if not numbers or isinstance(payload, OSError):
            return payload
        return WithValues(payload, [self._value(number) for number in numbers])

    def hand_on(self, call: Call, hand_on: Callable[[Call], object]) -> None:
        """Hand on a call when its values are there."""
        values = call.payload.values if isinstance(call.payload, WithValues) else ()
        if all(value.payload is not None for value in values):
            hand_on(call)
        else:
            self._waiting[call] = values, hand_on

    def withdraw(self, call: Call) -> bool:
        """Take back a call that waits for a value; return False if it does not."""
        return self._waiting.pop(call, None) is not None

    def clear(self) -> None:
        """Forget everything."""
        self._values.clear()
        self._waiting.clear()
        self._asked.clear()
        for task in self._pulls.values():
            task.cancel()
