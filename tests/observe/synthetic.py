"""Snapshots of any size, for tests and screenshots of the page."""

import random
import time

STARTED = 1_800_000_000.0
HOSTILE = "</script><img src=x onerror=alert(1)>\u202e'\"&{{data}}\N{PILE OF POO}"
FUNCTIONS = {"load_rows": (0.02, 62_000), "transform": (0.11, 31_000), "train_model": (2.4, 180), "report": (0.4, 900)}


def durations(middle, count):
    return {
        "count": count,
        "total": middle * count * 1.2,
        "min": middle / 6,
        "p50": middle,
        "p95": middle * 3,
        "max": middle * 7,
    }


def function(middle, count, **figures):
    made = {"count": count, "failures": 0, "lost": 0, "cancelled": 0, "retries": 0}
    made |= {"run": durations(middle, count), "wait": durations(middle * 2, count)}
    return made | {"bytes_in": count * 900, "bytes_out": count * 4000} | figures


def worker(number, now, **facts):
    made = {"pid": 4200 + number, "host": f"build-{7 + number % 3}", "state": "idle", "task": "", "since": 0.0}
    made |= {"coroutines": 0, "actor": "", "done": 900 + 40 * number, "memory": 180 << 20, "cpu": 50.0 + number}
    return made | {"started": STARTED, "ended": None, "lost": "", "progress": None} | facts


def peer(**facts):
    made = {"name": "", "host": "", "workers": 8, "outstanding": 14, "refused": 0, "is_full": False, "trouble": ""}
    return made | {"round_trip": 0.0004, "bytes_sent": 80 << 20, "bytes_received": 300 << 20} | facts


def snapshot(workers=3, *, moment=0.0, hostile=False):
    """
    A pool with so many workers, a hundred thousand tasks, a worker that is stuck, one that was lost, and a peer that
    refuses.
    """
    chance, now = random.Random(f"{workers} {moment}"), STARTED + 613.0 + moment
    functions = {name: function(middle, count + int(20 * moment)) for name, (middle, count) in FUNCTIONS.items()}
    functions["report"]["failures"], functions["train_model"]["lost"] = 3, 1
    rows = {}
    for number in range(workers):
        task = chance.choice(["load_rows", "load_rows", "transform", "train_model", ""])
        facts = {"memory": int((180 + 60 * chance.random()) * 2**20)}
        if task:
            facts |= {"state": "running", "task": task, "since": round(now - chance.random() * FUNCTIONS[task][0], 1)}
        elif number % 9 == 1:
            facts |= {"state": "waiting", "task": "report", "since": round(now - 1.0, 1)}
        if number == 1:
            facts |= {"state": "running", "task": "transform", "since": now - 340.0 - moment, "memory": 2900 << 20}
        if number == 2:
            facts |= {"state": "lost", "task": "", "lost": "killed by SIGSEGV while it ran train_model"}
        if number == 3:
            facts |= {"state": "running", "task": "train_model", "since": now - 1.5, "progress": [30, 120, "epoch 3"]}
        rows[str(number)] = worker(number, now, **facts)
    peers = {"build-8:7700": peer(), "build-9:7700": peer(refused=310, outstanding=0, trouble="no worker starts")}
    if hostile:
        functions[HOSTILE] = functions["__proto__"] = functions["constructor"] = function(0.1, 5)
        rows["0"] |= {"state": "running", "task": HOSTILE, "host": HOSTILE, "since": now - 1.0}
        rows["2"]["lost"] = HOSTILE
        rows["1"]["progress"] = [1e300, None, HOSTILE]
        peers[HOSTILE] = peer(trouble=HOSTILE, refused=1)
    tasks = {
        "held": 0,
        "queued": 20_000 + chance.randrange(500),
        "sent": 40,
        "running": workers,
        "failed": 3,
        "lost": 1,
    }
    tasks |= {"returned": 80_000 + int(430 * moment), "cancelled": 12, "retried": 2}
    values = {"count": 12, "bytes": 3 << 20, "spilled": 0, "spilled_bytes": 0, "kept": 2, "kept_bytes": 256 << 20}
    return {
        "pool": {"pid": 4100, "host": "build-7", "now": now, "started": STARTED},
        "tasks": tasks,
        "functions": functions,
        "workers": rows,
        "peers": peers,
        "values": values,
    }


class Moving:
    """Snapshots of a pool that works; what it is called with is left out."""

    def __init__(self, workers, **options):
        self.workers, self.options, self.began = workers, options, time.monotonic()

    def __call__(self):
        return snapshot(self.workers, moment=time.monotonic() - self.began, **self.options)


STACKS = [
    {
        "task": 7,
        "function": "transform",
        "seconds": 340.2,
        "host": "build-8",
        "pid": 4201,
        "stack": 'File "etl.py", line 41, in transform\n    lock.acquire()',
        "note": "",
        "peer": "",
        "client": "",
    },
    {
        "task": 8,
        "function": HOSTILE,
        "seconds": 1.0,
        "host": HOSTILE,
        "pid": 4202,
        "stack": HOSTILE,
        "note": HOSTILE,
        "peer": "",
        "client": "",
    },
]
