"""
The values of a client at a peer: those that it has sent, and outcomes of its calls that stay here.

A call that needs a value waits until the value has arrived.  An outcome that stays here can be fetched by its client.
Other peers can fetch it, and values that the client shares, with a key that only the client gives them.
"""

from __future__ import annotations

import asyncio
import secrets
import weakref
from functools import partial
from typing import TYPE_CHECKING, Any

from woolexec.errors import ProtocolError
from woolexec.mesh.client.channel import DETAILS
from woolexec.mesh.link.outbox import ON_LINK, VALUES
from woolexec.mesh.server.fetching import NotThereError
from woolexec.mesh.server.stays import Stays
from woolexec.printable import printable
from woolexec.wire.descriptors import is_scarce
from woolexec.wire.frames import Drop, Fetch, Keep, Pull, encode
from woolexec.wire.payload import File
from woolexec.wire.pickling import is_for_all
from woolexec.wire.values import LEAST_KEPT, Value, WithValues

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from woolexec.core.call import Call
    from woolexec.engine.hosted import Hosted
    from woolexec.mesh.link.arriving import Arriving
    from woolexec.mesh.link.outbox import Outbox
    from woolexec.mesh.server.byte_quota import ByteQuota
    from woolexec.mesh.server.fetching import Fetching
    from woolexec.wire.payload import Parts
    from woolexec.wire.protobuf import Message


_KEY = 16
"""Bytes of a key."""

_PULLS = 16
"""Maximum number of values that are being fetched for one client; further ones are sent by the client."""

_LOOKED_AT = 64 << 20
"""Maximum size, in bytes, of the pickle of an outcome that stays, without buffers: it is searched for names."""

_AHEAD = 16 << 20
"""Bytes of outcomes that wait to be sent, above which no more of them are added."""

_PAUSE = 0.01
"""How often that is checked, in seconds."""

MOST_VALUES = 1 << 13
"""Maximum number of values that one call needs."""

_AT_ONCE = 100
"""Number of values that are forgotten in one step."""

_LONGEST = 300
"""Maximum length of the key of a value that is fetched from another peer, and of what names that peer."""

_by_key: weakref.WeakValueDictionary[bytes, Value] = weakref.WeakValueDictionary()
"""The values in this process that can be fetched, of all clients."""

_keys: weakref.WeakKeyDictionary[Value, bytes] = weakref.WeakKeyDictionary()
"""Their keys."""


def _key_of(value: Value) -> bytes:
    """Return the key with which a value can be fetched."""
    key = _keys.get(value)
    if key is None:
        key = _keys[value] = secrets.token_bytes(_KEY)
        _by_key[key] = value
    return key


class KeptValues:
    """
    The values of one client.

    A call may arrive before a value that it needs: large payloads are sent in parts, and small frames overtake them.

    :param arriving: the received large payloads
    :param quota: counts the bytes
    :param outbox: for values that the client requests
    :param fetching: fetches values from other peers; None: not permitted here
    :param engine: runs the calls that need the values
    :param stays: counts the outcomes that stay, of all clients
    """

    def __init__(
        self,
        arriving: Arriving,
        quota: ByteQuota,
        outbox: Outbox,
        fetching: Fetching | None = None,
        engine: Hosted | None = None,
        stays: Stays | None = None,
    ) -> None:
        self._stays = stays or Stays()
        self._arriving, self._quota, self._outbox = arriving, quota, outbox
        self._fetching, self._engine = fetching, engine
        self._asked: dict[tuple[int, bytes], None] = {}
        self._pulls: dict[int, asyncio.Task[None]] = {}
        self._values: dict[int, Value] = {}
        self._whole = weakref.WeakSet[Value]()  # those that have arrived, and are known or needed by a call
        self._waiting: dict[Call, tuple[set[Value], Callable[[Call], object]]] = {}  # with what each lacks
        self._lacking: dict[Value, dict[Call, None]] = {}  # the calls that lack each of these

    def __len__(self) -> int:
        return len(self._values)

    @property
    def handlers(self) -> dict[type[Message], Callable[[Any], object]]:
        """The frames about values, with what handles them."""
        return {Keep: self.keep, Drop: self.drop, Fetch: self.fetch, Pull: self.pull}

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
        value = self._value(number)
        self._quota.keep(_name_of(value), len(payload), alone=not len(self._whole))
        self._settle(value, payload)

    def _settle(self, value: Value, payload: bytes | File | Parts) -> None:
        """Give a value its payload, and hand on the calls that lacked only this value."""
        if value.payload is None:
            # A call may need it when its client has dropped it: its bytes count until it is gone.
            weakref.finalize(value, self._quota.drop, _name_of(value)).atexit = False
        value.payload = payload
        self._whole.add(value)
        for call in self._lacking.pop(value, ()):
            lacks, hand_on = self._waiting[call]
            lacks.discard(value)
            if not lacks:
                del self._waiting[call]
                hand_on(call)

    def stay(self, number: int, payload: bytes | File | Parts) -> bytes | None:
        """
        Store the outcome of a call and return its key; an empty key or None means that it must be sent to the client.

        The key is empty if the outcome is small, or contains something that only its client can unpickle; None if there
        is no room.
        """
        size, body = len(payload), len(payload) if isinstance(payload, bytes) else payload.extent[0]
        if size < LEAST_KEPT or body > _LOOKED_AT:
            return b""
        has_room = self._stays.may_add(size) and self._quota.may_stay(size, spills=self._stays.spills)
        if not has_room or len(self._values) >= VALUES // 2:
            return None
        try:
            if not is_for_all(payload):
                return b""
            if isinstance(payload, File) and is_scarce(payload.fd):
                payload = payload.take_in()
        except (OSError, ValueError):  # it cannot be read, or no memory is left
            return b""
        value = self._value(number)
        self._quota.stay(_name_of(value), size)
        self._settle(value, payload)
        self._stays.add(value, partial(self._spilled, value))
        return _key_of(value)

    def _spilled(self, value: Value) -> None:
        """Note that an outcome no longer takes memory, and free its room."""
        self._quota.drop(_name_of(value))
        if self._engine is not None:
            self._engine.links.values.let_go(value.number)
            self._engine.wake()

    def fetch(self, frame: Fetch) -> None:
        """
        Send an outcome that is kept here: one of this client or, with its key, of another.

        :raises ProtocolError: if a frame does not request exactly one, or too many are requested
        """
        if len(frame.value) != 1:
            raise ProtocolError("a client requested other than one value in a frame")
        number, key = frame.value[0], frame.key
        if self._find(number, key) is None:  # the key may be of any size, so it is not kept
            self._outbox.put(encode(Drop(value=(number,))))
            return
        self._asked[number, key] = None
        if len(self._asked) > VALUES:
            raise ProtocolError(f"a client waits for more than {VALUES} values")
        if len(self._asked) == 1:
            self._serve()

    def _find(self, number: int, key: bytes) -> Value | None:
        value = _by_key.get(key) if key else self._values.get(number)
        return None if value is None or value.payload is None else value

    def _serve(self) -> None:
        """Send the requested values, as fast as the client reads them."""
        while self._asked and self._outbox.unsent <= _AHEAD:
            number, key = next(iter(self._asked))
            del self._asked[number, key]
            value = self._find(number, key)
            if value is None or value.payload is None:
                self._outbox.put(encode(Drop(value=(number,))))
            else:
                self._stays.use(value)
                self._outbox.put_frame(ON_LINK | number, Keep(value=number), value.payload)
        if self._asked and self._engine is not None:
            self._engine.links.after(_PAUSE, self._serve)

    def pull(self, frame: Pull) -> None:
        """Fetch a value from another peer, and report whether that succeeded."""
        is_right = max(len(frame.key), len(frame.address), len(frame.identity)) <= _LONGEST
        fetching = self._fetching if is_right else None
        if fetching is None or len(self._pulls) >= _PULLS or frame.value in self._pulls:
            reason = "it is fetching many values" if fetching is not None else ""
            self._outbox.put(encode(Drop(value=(frame.value,), reason=reason)))
        else:
            self._pulls[frame.value] = asyncio.get_running_loop().create_task(self._pull(fetching, frame))

    async def _pull(self, fetching: Fetching, frame: Pull) -> None:
        try:
            payload = await fetching.fetch(frame)
            self._store(frame.value, payload)
        except NotThereError:
            self._outbox.put(encode(Drop(value=(frame.value,))))
        except Exception as exc:  # it cannot be reached, there is no room, or there is a bug: calls wait for an answer
            reason = printable(str(exc), DETAILS) or type(exc).__name__
            self._outbox.put(encode(Drop(value=(frame.value,), reason=reason)))
        else:
            self._offer(frame.value)
        finally:
            if self._pulls.get(frame.value) is asyncio.current_task():
                del self._pulls[frame.value]
        if self._engine is not None:
            self._engine.wake()

    def drop(self, frame: Drop) -> Iterator[None]:
        """Forget values, except those that a call still needs; the first ones at once, others step by step."""
        for number in frame.value[:_AT_ONCE]:
            self._forget(number)
        return map(self._forget, frame.value[_AT_ONCE:])

    def _forget(self, number: int) -> None:
        self._arriving.forget(ON_LINK | number)
        if self._outbox.withdraw(ON_LINK | number):  # it was asked for: a client that leaves waits for an answer
            self._outbox.put(encode(Drop(value=(number,))))
        if number in self._pulls:
            self._pulls.pop(number).cancel()
        if number in self._values:
            self._stays.remove(self._values.pop(number))

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
        values = [self._value(number) for number in numbers]
        for value in values:
            self._stays.use(value)
        return WithValues(payload, values)

    def hand_on(self, call: Call, hand_on: Callable[[Call], object]) -> None:
        """Hand on a call when its values are there."""
        values = call.payload.values if isinstance(call.payload, WithValues) else ()
        lacks = values and {value for value in values if value.payload is None}
        if not lacks:
            hand_on(call)
            return
        self._waiting[call] = lacks, hand_on
        for value in lacks:
            self._lacking.setdefault(value, {})[call] = None

    def withdraw(self, call: Call) -> bool:
        """Recall a call that waits for a value; return False if it does not wait."""
        if call not in self._waiting:
            return False
        lacks, _ = self._waiting.pop(call)
        for value in lacks:
            del self._lacking[value][call]
            if not self._lacking[value]:
                del self._lacking[value]
        return True

    def clear(self) -> None:
        """Forget everything."""
        for value in self._values.values():
            self._stays.remove(value)
        self._values.clear()
        self._waiting.clear()
        self._lacking.clear()
        self._asked.clear()
        for task in self._pulls.values():
            task.cancel()


def _name_of(value: Value) -> tuple[str, int]:
    """Return the name under which the bytes of a value are counted; its client may use its number again."""
    return "value", value.number
