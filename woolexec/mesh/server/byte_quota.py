"""The bytes that one client has at a peer: functions, chunks and arguments of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Hashable


class ByteQuota:
    """
    What one client has at a peer, in bytes.

    The arguments of a call are let go when it ends, so a call that finds no room is refused, and waits at its client.
    Functions and chunks stay until others replace them, so a client that sends more of them than there is room for
    can only be refused altogether.

    :param limit: maximum number of bytes
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Hashable, int] = {}
        self._stayed: dict[Hashable, int] = {}
        self._stayed_size = 0
        self.size = 0
        """All of it."""

    def has_room(self, size: int) -> bool:
        """Return whether the arguments of one more call fit."""
        return self.size + size <= self._limit

    def add(self, size: int) -> None:
        """Note the arguments of a call."""
        self.size += size

    def remove(self, size: int) -> None:
        """Note that a call has ended."""
        self.size -= size

    def keep(self, what: Hashable, size: int, *, alone: bool = False) -> None:
        """
        Note something that stays, in place of what was kept under the same name.

        :param alone: there is no other of its kind, and it is let in whatever its size
        :raises ProtocolError: if there is no room for it
        """
        self.drop(what)
        if not (alone or self.has_room(size)):
            raise ProtocolError(
                f"functions, chunks and values of {size} bytes, beside {self.size} bytes of others, exceed the limit "
                f"of {self._limit} bytes for one client"
            )
        self._kept[what] = size
        self.size += size

    def may_stay(self, size: int, *, spills: bool = False) -> bool:
        """
        Return whether an outcome may stay here: all of them take at most half of the room.

        :param spills: what is too much will go to a folder
        """
        return self.has_room(size) and (spills or self._stayed_size + size <= self._limit // 2)

    def stay(self, what: Hashable, size: int) -> None:
        """Note an outcome that stays here, in place of what was kept under the same name."""
        self.drop(what)
        self._stayed[what] = size
        self._stayed_size += size
        self.size += size

    def drop(self, what: Hashable) -> None:
        """Note that something that stayed is gone."""
        stayed = self._stayed.pop(what, 0)
        self._stayed_size -= stayed
        self.size -= self._kept.pop(what, 0) + stayed

    def clear(self) -> None:
        """Note that the client is gone."""
        self._kept.clear()
        self._stayed.clear()
        self.size = self._stayed_size = 0
