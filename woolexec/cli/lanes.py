"""A timeline as text that shows how busy each worker was."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

_BLOCKS = " ▁▂▃▄▅▆▇█"


def lanes_of(events: Iterable[dict[str, Any]], width: int) -> Iterator[str]:
    """
    Yield a line for each lane of a trace; the height of each block is the share of its time in which something ran.

    :param width: number of blocks in a line
    """
    hosts: dict[int, str] = {}
    names: dict[tuple[int, int], str] = {}
    runs: dict[tuple[int, int], list[tuple[float, float]]] = defaultdict(list)
    for event in events:
        lane = event["pid"], event.get("tid", 0)
        if event["ph"] == "M" and event["name"] == "process_name":
            hosts[event["pid"]] = event["args"]["name"]
        elif event["ph"] == "M" and event["name"] == "thread_name":
            names[lane] = event["args"]["name"]
        elif event["ph"] == "X":
            runs[lane].append((event["ts"], event["ts"] + event["dur"]))
    if not runs:
        return
    first = min(began for each in runs.values() for began, _ in each)
    step = max(1e-3, max(ended for each in runs.values() for _, ended in each) - first) / width
    host = None
    for lane in sorted(runs):
        if lane[0] != host:
            host = lane[0]
            yield f"  {hosts.get(host, '?')}"
        yield f"  {names.get(lane, '?'):<14} {''.join(_blocks(runs[lane], first, step, width))}"
    end = f"{step * width / 1e6:.2f} s"
    yield f"  {'':<14} 0{end:>{width - 1}}"


def _blocks(runs: Iterable[tuple[float, float]], first: float, step: float, width: int) -> Iterator[str]:
    busy = [0.0] * width
    for began, ended in runs:
        left, right = (began - first) / step, (ended - first) / step
        for column in range(int(left), min(width, int(right) + 1)):
            busy[column] += max(0.0, min(right, column + 1) - max(left, column))
    for share in busy:
        yield _BLOCKS[min(len(_BLOCKS) - 1, -int(-share * (len(_BLOCKS) - 1) // 1) if share > 0 else 0)]
