"""The items of maps that pass through a gate: each counts until its outcome has arrived."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from woolexec.api.gate import Gate
    from woolexec.api.map_batches import Board, ChunkSender, FutureSender, Unit
    from woolexec.futures.latch import Latch


class _CountingBoard:
    """Replaces the board of a map while items are sent, and counts the items that have ended."""

    def __init__(self, board: Board, gate: Gate, count: int) -> None:
        self._board, self._gate = board, gate
        self._left = [None] * count  # popping is atomic

    def note(self, unit: Unit, first: int, count: int) -> None:
        """Note that outcomes have been stored."""
        self.end(count)
        self._board.note(unit, first, count)

    def end(self, count: int | None = None) -> None:
        """Note that this many items, or all, have ended."""
        ended = 0
        while self._left and ended != count:
            try:
                self._left.pop()
            except IndexError:
                break
            ended += 1
        if ended:
            self._gate.leave(ended)


class GatedSender:
    """
    Sends the items of a map through a gate.

    :param sender: sends them
    :param counts: whether this must count the items itself, because they do not leave the gate by themselves
    """

    def __init__(self, sender: ChunkSender | FutureSender, gate: Gate, *, counts: bool) -> None:
        self._sender, self.gate, self._counts = sender, gate, counts
        self._boards: dict[Unit, _CountingBoard] = {}
        self.forget_pool = sender.forget_pool
        self.check_process = sender.check_process

    @property
    def size(self) -> int:
        """The size of what was sent last, in bytes."""
        return self._sender.size

    @property
    def ahead(self) -> int:
        """Number of items that may be ahead of the consumer."""
        return self._sender.ahead

    def send(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """
        Send items; wait while too many tasks are unfinished.

        :raises PoolFullError: instead of waiting, in an event loop
        """
        if not self._counts:  # each item is submitted as a task, which enters the gate
            return self._sender.send(board, items, index)
        units: list[Unit] = []
        step = max(1, self.gate.limit // 2)
        for start in range(0, len(items), step):
            part = items[start : start + step]
            self.gate.enter(len(part))
            units += self.send_entered(board, part, index + start)
        return units

    def send_entered(self, board: Board, items: list[Any], index: int) -> list[Unit]:
        """Send items that have entered."""
        if not self._counts:
            return self.gate.entered(lambda: self._sender.send(board, items, index), len(items))
        counting: Any = _CountingBoard(board, self.gate, len(items))
        try:
            units = self._sender.send(counting, items, index)
        except BaseException:
            counting.end()
            raise
        self._boards = {unit: each for unit, each in self._boards.items() if each._left}
        self._boards.update(dict.fromkeys(units, counting))
        return units

    def cancel(self, units: Any, ended: Latch | None = None, *, force: bool = False) -> None:
        """Cancel the items that have not been started; neither they nor those that run are counted any more."""
        units = list(units)
        self._sender.cancel(units, ended, force=force)
        for unit in units:
            counting = self._boards.pop(unit, None)
            if counting is not None:
                counting.end()
