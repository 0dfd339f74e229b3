"""A trace file as one self-contained page, for ``woolexec timeline``."""

from __future__ import annotations

import html
import json
from collections import defaultdict
from typing import TYPE_CHECKING, Any

from woolexec.engine.recorder import LOST, RAISED, RUNS
from woolexec.observe.one_file import page_and_policy

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

OUTCOMES = {None: "", RAISED: "failed", LOST: "lost", RUNS: "running"}
"""The states whose colours mark runs, by outcome; runs that returned are not marked."""


def events_of(lines: Iterable[str]) -> Iterator[dict[str, Any]]:
    """
    Yield the events of a trace file, one from each line; the last line may be incomplete.

    :raises ValueError: if it was not written by `PeerPoolExecutor.trace`
    """
    rest = iter(lines)
    if next(rest, "").strip() != "[":
        raise ValueError("it was not written by PeerPoolExecutor.trace: the first line is not [")
    for line in rest:
        text = line.strip().removesuffix(",")
        if not text or text == "]":
            continue
        try:
            yield json.loads(text)
        except ValueError:
            if line.endswith("\n"):
                raise
            return  # its writer was killed


def page_of(lines: Iterable[str], title: str) -> str:
    """
    Return the page for a trace file.

    :raises ValueError: if it was not written by `PeerPoolExecutor.trace`
    """
    try:
        data = _data_of(events_of(lines))
    except (AttributeError, KeyError, TypeError) as exc:
        raise ValueError("it was not written by PeerPoolExecutor.trace: its events have other fields") from exc
    page, _ = page_and_policy(
        "timeline.html",
        scripts=("timeline.js", "timeline_page.js"),
        title=html.escape(title),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
    )
    return page


def _data_of(events: Iterable[dict[str, Any]]) -> dict[str, Any]:
    outcomes = list(OUTCOMES.values())
    names: dict[str, int] = {}
    hosts: dict[int, str] = {}
    labels: dict[int, str] = {}
    threads: dict[tuple[int, int], str] = {}
    places: dict[tuple[int, int], int] = {}
    runs: dict[tuple[int, int], list[list[Any]]] = defaultdict(list)
    tails: dict[Any, tuple[tuple[int, int], float]] = {}
    arrows: list[tuple[tuple[int, int], float, tuple[int, int], float, str]] = []
    for event in events:
        phase, lane = event["ph"], (event["pid"], event.get("tid", 0))
        args = event.get("args", {})
        if phase == "M":
            if event["name"] == "process_name":
                hosts[event["pid"]] = args["name"]
            elif event["name"] == "process_labels":
                labels[event["pid"]] = args["labels"]
            elif event["name"] == "thread_name":
                threads[lane] = args["name"]
            elif event["name"] == "thread_sort_index":
                places[lane] = args["sort_index"]
        elif phase == "X":
            name = names.setdefault(event["name"], len(names))
            outcome = outcomes.index(OUTCOMES.get(args.get("outcome"), ""))
            waits = [1000 * args[key] for key in ("waiting_ms", "transfer_ms")]
            runs[lane].append([event["ts"], event["dur"], name, *waits, outcome, args["call"]])
        elif phase == "s":
            tails[event["id"]] = lane, event["ts"]
        elif phase == "f" and event["id"] in tails:
            arrows.append((*tails.pop(event["id"]), lane, event["ts"], event["cat"]))
    order = {
        lane: number for number, lane in enumerate(sorted(threads, key=lambda lane: (lane[0], places.get(lane, 0))))
    }
    lanes = [
        {
            "host": " ".join(filter(None, (hosts.get(lane[0], "?"), labels.get(lane[0])))),
            "name": threads[lane],
            "runs": sorted(runs[lane], key=lambda run: (run[0], -run[1])),
        }
        for lane in order
    ]
    joined = [(order[a], left, order[b], right, kind) for a, left, b, right, kind in arrows if {a, b} <= order.keys()]
    return {"names": list(names), "outcomes": outcomes, "lanes": lanes, "arrows": joined}
