"""
One sample in a fresh process: an order in JSON as the only argument, the sample as a line of JSON on standard output.

    python -m tests.bench.probe '{"workload": "round-trip", "contender": "stdlib", "size": {"workers": 2, "trips": 9}}'
"""

from __future__ import annotations

import faulthandler
import json
import sys
from dataclasses import dataclass

from . import contenders, workloads


@dataclass
class Item:
    """What a script passes around; this is the script, so it is of ``__main__``."""

    number: int
    name: str = "item"


def main(order: str) -> None:
    """Take the sample that is ordered, and print it."""
    asked = json.loads(order)
    if "stacks_after" in asked:
        faulthandler.dump_traceback_later(asked["stacks_after"])
    workload, contender = workloads.named(asked["workload"]), contenders.named(asked["contender"])
    sample = workload.probe(contender, **asked["size"])
    print(json.dumps(sample), flush=True)


if __name__ == "__main__":
    main(sys.argv[1])
