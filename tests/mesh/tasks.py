"""The functions that run in workers of peers; quick to import, so that short timeouts suffice."""

import contextvars
import logging
import os
import signal
import time
from pathlib import Path

from woolexec import current_executor, propagate

PATIENCE = 20.0

word = contextvars.ContextVar("word", default="none")
propagate(word, "tests.mesh.word")
state = []  # what initializers have left


def eventually(condition):
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline, "it did not come true"
        time.sleep(0.002)


async def add(x, y=0):
    import asyncio

    await asyncio.sleep(0)
    return x + y


async def wait_for_ever(path):
    import asyncio

    path.touch()
    try:
        await asyncio.sleep(1000)
    finally:
        path.with_suffix(".ended").touch()


async def raise_async(text):
    raise LookupError(text)


def count(n):
    yield from range(n)
    return "done"


async def count_async(n):
    for x in range(n):
        yield x


def echo(path):
    value = None
    try:
        while True:
            try:
                value = yield value
            except ValueError as exc:
                value = f"caught {exc}"
    finally:
        path.touch()


def arrays(n):
    import numpy as np

    for x in range(n):
        yield np.full(60_000, x)


async def says_word():
    return word.get()


async def changes_word():
    word.set("changed")


async def weigh_async(data):
    return len(data)


def weigh(blob):
    return len(blob)


class _Settings:
    path = "/srv"


_shared = _Settings()


def shared():
    return _shared


def path_of_shared():
    return _shared.path


def hold(room, name):
    Path(room, name).touch()
    for _ in range(12_000):  # a minute at least
        if Path(room, "release").exists():
            return os.getpid()
        time.sleep(0.005)
    raise TimeoutError("nobody released it")


def hold_data(room, data):
    hold(room, "held")
    return len(data)


def hold_if(room, name):
    return hold(room, name) if name else os.getpid()


async def pid_of():
    return os.getpid()


def pid_after(seconds):
    time.sleep(seconds)
    return os.getpid()


def say(text):
    logging.getLogger("jobs").warning(text)


def nest_with(require):
    return current_executor().with_options(require=require).submit(os.getpid).result()


def meet(room, name):
    Path(room, name).touch()
    while len(list(Path(room).iterdir())) < 2:
        time.sleep(0.005)
    return os.getpid()


def nest_two_that_meet(room):
    futures = [current_executor().submit(meet, room, name) for name in "ab"]
    return [future.result() for future in futures]


def double(value):
    return 2 * value


def hold_by_name(room, name="held"):
    """Say that it runs, and run until it is released."""
    hold(room, name)
    return name


def fail(text):
    raise LookupError(text)


def die():
    os.kill(os.getpid(), signal.SIGKILL)


class Tattler:
    """Says in which process it was unpickled first."""

    def __reduce__(self):
        return os.getpid, ()


def whoami():
    time.sleep(0.02)
    return os.getpid()


def run_once(number, seconds, log):
    with open(log, "a") as lines:
        lines.write(f"{number}\n")
    time.sleep(seconds)
    if number % 97 == 5:
        die()
    return number


def prepare(path, word):
    state.append(word)
    with open(path, "a") as file:
        print(os.getpid(), word, file=file)


def prepared(_=None):
    return tuple(state)


async def prepared_async():
    return tuple(state)


def prepared_stream():
    yield tuple(state)


def after_a_second():
    time.sleep(1)
    return os.getpid(), tuple(state)


def meet_prepared(folder, here, there):
    """Wait for another task, which therefore runs in another worker; tell which this is, and how it was prepared."""
    Path(folder, here).touch()
    for _ in range(4000):
        if Path(folder, there).exists():
            return os.getpid(), tuple(state)
        time.sleep(0.005)
    raise TimeoutError("nobody came")


def nest_prepared(folder):
    futures = [current_executor().submit(meet_prepared, folder, *names) for names in ("ab", "ba")]
    return [future.result() for future in futures]


def log(text):
    import logging

    logging.getLogger("tests.mesh").warning("it says %s", text)


async def log_async(text):
    log(text)


def log_nested(text):
    current_executor().submit(log, text).result()


def log_much(count):
    import logging

    logger = logging.getLogger("tests.mesh")
    for number in range(count):
        logger.warning("line %d", number)
    return count


async def treble(n):
    return 3 * n


def mark(room, name):
    """Note when this began and ended."""
    Path(room, f"{name}.began").touch()
    time.sleep(0.02)
    inside = len(list(Path(room).glob("*.began"))) - len(list(Path(room).glob("*.ended")))
    Path(room, f"{name}.ended").touch()
    return inside


def note(path, text):
    with open(path, "a") as file:
        file.write(text + "\n")


def recurse(depth):
    if depth == 0:
        return 1
    futures = [current_executor().submit(recurse, depth - 1) for _ in range(2)]
    return sum(future.result() for future in futures)


def give_large_and_small(count, size):
    import numpy as np

    for n in range(count):
        yield np.full(size // 8, n) if n % 2 else n


def take_large():
    total = 0
    while True:
        item = yield total
        total += len(item)


def hold_alone(room):
    Path(room, "held").touch()
    while not Path(room, "release").exists():
        time.sleep(0.005)
    return os.getpid()


def nest_and_meet(room):
    futures = [current_executor().submit(hold_two, room, name) for name in "ab"]
    return {future.result() for future in futures}


def hold_two(room, name):
    Path(room, name).touch()
    while not all(Path(room, each).exists() for each in "ab"):
        time.sleep(0.005)
    return os.getpid()


def hold_number(room, number):
    while not (room / "release").exists():
        time.sleep(0.005)
    return number


class Evil:
    """Runs something where it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


class EvilError(Exception):
    def __reduce__(self):
        return Path.touch, self.args


def evil(path, times=1):
    return Evil(path) if times == 1 else [Evil(path)] * times


def raise_evil(path):
    try:
        raise EvilError(path)
    except EvilError as exc:
        raise ValueError("above \x1b[2J it") from exc


def raise_only_evil(path):
    raise EvilError(path)


def yield_evil(path):
    yield 1
    yield Evil(path)


async def bring_evil_back(path):
    word.set(Evil(path))


async def yield_evil_context(path):
    word.set(Evil(path))
    yield 1


def nest_evil(path, gate):
    while not gate.exists():
        time.sleep(0.01)
    future = current_executor().with_options(require={"zone": "b"}).submit(evil, path)
    return type(future.exception(10)).__name__


def answer(kind):
    import datetime as dt
    from collections import Counter, OrderedDict, deque
    from decimal import Decimal

    import numpy as np

    return {
        "numbers": [1, -(10**30), 1.5, 2j, True, None],
        "text": ["ä", b"b" * 300_000, bytearray(b"c")],
        "containers": [(1,), {2}, frozenset("a"), {"k": [{}]}, deque([1]), OrderedDict(a=1), Counter("aab")],
        "dates": [
            dt.datetime.max.replace(tzinfo=dt.UTC),
            dt.date.min,
            dt.timedelta(1),
            dt.UTC,
            Decimal("1.1"),
            Path("a/b"),
            range(3),
        ],
        "arrays": [np.arange(100_000), np.arange(10)[::2], np.float64(2), np.array(["a"]), np.array(["2026"], "M8[D]")],
    }[kind]


def raise_one(kind):
    if kind == "group":
        raise ExceptionGroup("several", [ValueError(1), KeyError("k")])
    raise {
        "value": ValueError("v", 3),
        "os": FileNotFoundError(2, "No such file", "name"),
        "unicode": UnicodeDecodeError("utf8", b"x", 0, 1, "y"),
        "exit": SystemExit(3),
        "interrupt": KeyboardInterrupt(),
    }[kind]


def nap(seconds):
    time.sleep(seconds)


def throw_if_odd(number):
    if number % 2:
        raise ValueError(number)
