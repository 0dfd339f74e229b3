"""Statistics for the page of a pool: the same figures under the same names, with rows by their key."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from woolexec.statistics import Statistics


def page_data(statistics: Statistics, started: float) -> dict[str, Any]:
    """
    Return statistics as a dictionary of dictionaries, of which little changes between snapshots.

    The bins of histograms are left out; for a worker's task it has the start time, not the time since then.

    :param started: start time of the page, in seconds since 1970
    """
    data = statistics.as_dict()
    now = data["time"]
    for function in data["functions"]:
        for durations in (function["run"], function["wait"]):
            del durations["bins"]
    for worker in data["workers"]:
        seconds = worker.pop("seconds")
        worker["since"] = 0.0 if seconds is None else round(now - seconds, 1)
        worker["started"] = round(worker["started"], 1)
    return {
        "pool": {"pid": data["pid"], "host": data["host"], "now": now, "started": started},
        "tasks": data["tasks"],
        "functions": {each.pop("name"): each for each in data["functions"]},
        "workers": {f"{each['pid']}-{each['started']}": each for each in data["workers"]},
        "peers": {each["address"]: each for each in data["peers"]},
        "values": data["values"],
    }
