"""A line of calls in the order of their ranks."""

from __future__ import annotations

from heapq import heappop, heappush
from itertools import count

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from woolexec.core.call import Call

_numbers = count()


class Ranked:
    """The part of the `deque` interface that the ready queue uses; the call with the lowest rank is always in front."""

    __slots__ = ("_heap",)

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, Call]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def __iter__(self) -> Iterator[Call]:
        """Iterate over the calls in their order."""
        return (call for _, _, call in sorted(self._heap))

    def __getitem__(self, index: int) -> Call:
        return self._heap[index][2]

    def append(self, call: Call) -> None:
        """Add a call."""
        heappush(self._heap, (call.rank, next(_numbers), call))

    appendleft = append

    def extend(self, calls: Iterable[Call]) -> None:
        """Add calls."""
        for call in calls:
            self.append(call)

    def popleft(self) -> Call:
        """Remove and return the call with the lowest rank."""
        return heappop(self._heap)[2]

    def clear(self) -> None:
        """Remove all calls."""
        self._heap.clear()
