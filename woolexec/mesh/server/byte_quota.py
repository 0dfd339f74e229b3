"""The bytes that one client has at a peer: functions, chunks and arguments of its calls."""

from __future__ import annotations

from typing import TYPE_CHECKING

from woolexec.errors import ProtocolError

if TYPE_CHECKING:
    from collections.abc import Hashable


class ByteQuota:
    """
    The bytes that a peer holds for one client.

    The arguments of a call are freed when it ends, so a call for which there is no room is refused, and waits at its
    client.  Functions and chunks stay until others replace them, so if they exceed the limit, the link must end.

    :param limit: maximum number of bytes
    """

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._kept: dict[Hashable, int] = {}
        self._stayed: dict[Hashable, int] = {}
        self._stayed_size = 0
        self.size = 0
        """The total number of bytes."""

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
        Count an object that stays; it replaces an earlier one with the same name.

        :param alone: it is the only one of its kind, and is accepted regardless of its size
        :raises ProtocolError: if there is no room for it
        """
        self.drop(what)
        if not (alone or self.has_room(size)):
            raise ProtocolError(
                f"functions, chunks and values of {size} bytes, in addition to {self.size} bytes of others, exceed the "
                f"limit of {self._limit} bytes for one client"
            )
        self._kept[what] = size
        self.size += size

    def may_stay(self, size: int, *, spills: bool = False) -> bool:
        """
        Return whether an outcome may stay here; all outcomes together take at most half of the limit.

        :param spills: outcomes beyond the limit go to a folder
        """
        return self.has_room(size) and (spills or self._stayed_size + size <= self._limit // 2)

    def stay(self, what: Hashable, size: int) -> None:
        """Count an outcome that stays here; it replaces an earlier one with the same name."""
        self.drop(what)
        self._stayed[what] = size
        self._stayed_size += size
        self.size += size

    def drop(self, what: Hashable) -> None:
        """Stop counting an object that is gone."""
        stayed = self._stayed.pop(what, 0)
        self._stayed_size -= stayed
        self.size -= self._kept.pop(what, 0) + stayed

    def clear(self) -> None:
        """Note that the client is gone."""
        self._kept.clear()
        self._stayed.clear()
        self.size = self._stayed_size = 0
