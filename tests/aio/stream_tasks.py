"""
Generators, routines and nested tasks that run in workers; those named `..._async` are their asynchronous twins.

Hundreds of workers import this: what takes long to import, and few of these functions need, they import themselves.
"""

import os
import signal
import threading
import time
from contextvars import ContextVar

import anyio
import anyio.lowlevel

from tests.faults.tasks import SOON, eventually, note, notes
from woolexec import current_executor, current_task, propagate, routine
from woolexec.worker import nested_tasks


async def until(condition):
    with anyio.fail_after(SOON):
        while not condition():  # noqa: ASYNC110  # another process brings it about
            await anyio.sleep(0.002)


# -- items ------------------------------------------------------------------------------------------------------------


def count(n):
    yield from range(n)


async def count_async(n):
    for x in range(n):
        yield x


def noting(path, n):
    """Note each item before it is given, and what is done with the generator at last."""
    try:
        for x in range(n):
            note(path, x)
            yield x
    finally:
        note(path, "finally")


async def noting_async(path, n):
    try:
        for x in range(n):
            note(path, x)
            yield x
    finally:
        note(path, "finally")


def paced(n):
    for x in range(n):
        time.sleep(0.001)
        yield x


async def paced_async(n):
    for x in range(n):
        await anyio.sleep(0.001)
        yield x


def returning(n, value):
    yield from range(n)
    return value


def echo():
    got = yield "first"
    while True:
        got = yield got


async def echo_async():
    got = yield "first"
    while True:
        got = yield got


def stubborn():
    """Give what was thrown in."""
    got = "first"
    while True:
        try:
            yield got
        except Exception as exc:
            got = exc


async def stubborn_async():
    got = "first"
    while True:
        try:
            yield got
        except Exception as exc:
            got = exc


def held(path, n=1):
    """Give items once the file `open` is there."""
    try:
        note(f"{path}/began", "began")
        assert eventually(lambda: os.path.exists(f"{path}/open"))
        yield from range(n)
    finally:
        note(f"{path}/ended", "ended")


async def held_async(path, n=1):
    try:
        note(f"{path}/began", "began")
        await until(lambda: os.path.exists(f"{path}/open"))
        for x in range(n):
            yield x
    finally:
        note(f"{path}/ended", "ended")


async def shielded(path):
    """Wait where no cancellation comes in, then give an item."""
    try:
        note(f"{path}/began", "began")
        with anyio.CancelScope(shield=True):
            await until(lambda: os.path.exists(f"{path}/open"))
        yield 1
        await anyio.sleep(1000)
    finally:
        time.sleep(0.2)  # noqa: ASYNC251  # cleaning up takes its time
        note(f"{path}/ended", "ended")


def endless():
    """Ignore one's end."""
    while True:
        try:
            yield 0
        except GeneratorExit:
            yield 1


async def endless_async():
    while True:
        try:
            yield 0
        except GeneratorExit:
            yield 1


def items(name):
    yield 0
    yield globals()[name]()


async def items_async(name):
    yield 0
    yield globals()[name]()


class Box:
    def __init__(self, n):
        self.n = n

    def items(self):
        yield from [self.n] * self.n

    async def items_async(self):
        for _ in range(self.n):
            yield self.n


def stalling(path):
    yield 0
    while not os.path.exists(f"{path}/open"):  # however long the others take
        time.sleep(0.01)
    yield 1


async def stalling_async(path):
    yield 0
    while not os.path.exists(f"{path}/open"):  # noqa: ASYNC110, ASYNC240  # it waits for another process
        await anyio.sleep(0.01)
    yield 1


def meeting(path, n, number):
    """Give an item when `n` of these run at once."""
    note(path, number)
    assert eventually(lambda: is_full(path, n))
    yield "met"


async def meeting_async(path, n, number):
    note(path, number)
    await until(lambda: is_full(path, n))
    yield "met"


def arrays(length, n):
    import numpy as np

    for x in range(n):
        yield np.full(length, float(x))


async def arrays_async(length, n):
    import numpy as np

    for x in range(n):
        yield np.full(length, float(x))


# -- what goes wrong --------------------------------------------------------------------------------------------------


class OwnBaseError(BaseException):
    pass


def raising(error, n=2):
    yield from range(n)
    raise error


async def raising_async(error, n=2):
    for x in range(n):
        yield x
    raise error


def sulky():
    yield 0
    raise ValueError("sulky", threading.Lock())


async def sulky_async():
    yield 0
    raise ValueError("sulky", threading.Lock())


def unpicklable(path, n):
    try:
        yield from range(n)
        yield threading.Lock()
    finally:
        note(path, "finally")


async def unpicklable_async(path, n):
    try:
        for x in range(n):
            yield x
        yield threading.Lock()
    finally:
        await anyio.lowlevel.checkpoint()
        note(path, "finally")


def raising_at_close(error):
    try:
        yield 0
        yield 1
    finally:
        raise error


async def raising_at_close_async(error):
    try:
        yield 0
        yield 1
    finally:
        raise error


def killed(n):
    yield from range(n)
    os.kill(os.getpid(), signal.SIGKILL)


async def killed_async(n):
    for x in range(n):
        yield x
    os.kill(os.getpid(), signal.SIGKILL)


class Unloadable:
    def __reduce__(self):
        return _not_loaded, ()


def _not_loaded():
    raise ValueError("not loaded")


# -- routines ---------------------------------------------------------------------------------------------------------


@routine
async def pid():
    await anyio.lowlevel.checkpoint()
    return os.getpid()


@routine
async def add(x, y):
    await anyio.lowlevel.checkpoint()
    return x + y


@routine
async def add_three(x, y, z):
    return await add(await add(x, y), z)


@routine(local=True)
async def pid_local():
    await anyio.lowlevel.checkpoint()
    return os.getpid()


@routine
async def failing(error):
    raise error


@routine
async def pids(n):
    for _ in range(n):
        yield os.getpid()


@routine(local=True)
async def pids_local(n):
    for _ in range(n):
        yield os.getpid()


@routine
async def echoing(path):
    try:
        got = yield "first"
        while True:
            try:
                got = yield got
            except ValueError as exc:
                got = exc
    finally:
        note(path, "finally")


@routine
async def sums(n):
    for x in range(n):
        yield await add(x, x)


class Account:
    def __init__(self, balance):
        self.balance = balance

    @routine
    async def plus(self, x):
        return self.balance + x, os.getpid()

    @routine
    async def steps(self, n):
        for x in range(n):
            yield self.balance + x

    @classmethod
    @routine
    async def outer_class(cls, x):
        return cls.__name__, x, os.getpid()

    @routine
    @classmethod
    async def inner_class(cls, x):
        return cls.__name__, x, os.getpid()

    @staticmethod
    @routine
    async def outer_static(x):
        return x, os.getpid()

    @routine
    @staticmethod
    async def inner_static(x):
        return x, os.getpid()


class Savings(Account):
    def __init__(self, balance):
        super().__init__(1_000 + balance)


# -- context variables ------------------------------------------------------------------------------------------------

color = propagate(ContextVar("tests_color", default="none"))
size = propagate(ContextVar("tests_size", default=0), name="tests_size_by_another_name")
private = ContextVar("tests_private", default="none")


def colors(*_):
    return color.get(), size.get(), private.get()


async def colors_async(*_):
    await anyio.lowlevel.checkpoint()
    return colors()


def color_stream(n):
    for _ in range(n):
        yield color.get()


async def color_stream_async(n):
    for _ in range(n):
        yield color.get()


def nested_colors():
    return current_executor().submit(colors).result()


async def nested_colors_async():
    return await current_executor().run(colors_async)


async def paint(value):
    color.set(value)
    await anyio.lowlevel.checkpoint()
    return value


def paint_plainly(value):
    color.set(value)
    return value


async def paint_in_a_child(value):
    await current_executor().with_options(context_back=True).run(paint, value)


def painting(values):
    for value in values:
        color.set(value)
        yield value


async def painting_async(values):
    for value in values:
        color.set(value)
        yield value


async def meet(value, path, n):
    """Set a value of one's own, wait until `n` have done so in this worker, and look again."""
    color.set(value)
    note(path, value)
    await until(lambda: is_full(path, n))
    return color.get(), os.getpid()


def is_full(path, n):
    with open(path) as file:
        return len(file.readlines()) >= n


# -- what a task knows of itself --------------------------------------------------------------------------------------


def info():
    return current_task()


async def info_async():
    await anyio.lowlevel.checkpoint()
    return current_task()


def info_of(_):
    return current_task()


async def info_of_async(_):
    return current_task()


def info_stream():
    yield current_task()
    yield current_task()


async def info_stream_async():
    yield current_task()
    yield current_task()


def third_time(path):
    note(path, "try")
    if not is_full(path, 3):
        raise OSError("not yet")
    return current_task()


async def third_time_async(path):
    return third_time(path)


def family():
    child = current_executor().submit(family_child)
    return [current_task(), *child.result()]


def family_child():
    return [current_task(), current_executor().submit(info).result()]


async def family_async():
    return [current_task(), *await current_executor().run(family_child_async)]


async def family_child_async():
    return [current_task(), await current_executor().run(info_async)]


# -- nesting ----------------------------------------------------------------------------------------------------------


def double(x):
    return 2 * x


async def double_async(x):
    await anyio.lowlevel.checkpoint()
    return 2 * x


async def both_kinds(x):
    pool = current_executor()
    return await pool.run(double, x), await pool.run(double_async, x)


def through_asyncio(fn, *args):
    """Await a task in an event loop of one's own."""
    import asyncio

    async def main():
        return await current_executor().run(fn, *args)

    return asyncio.run(main())


def wrap_through_asyncio(fn, *args):
    import asyncio

    async def main():
        return await asyncio.wrap_future(current_executor().submit(fn, *args))

    return asyncio.run(main())


def call_back(fn, *args):
    """Wait for a done-callback."""
    called = threading.Event()
    current_executor().submit(fn, *args).add_done_callback(lambda _: called.set())
    return called.wait(SOON / 4)


def stream_through_asyncio(fn, *args):
    import asyncio

    async def main():
        async with current_executor().stream(fn, *args) as stream:
            return [item async for item in stream]

    return asyncio.run(main())


def map_through_asyncio(fn, xs):
    import asyncio

    async def main():
        return [x async for x in current_executor().map_async(fn, xs)]

    return asyncio.run(main())


def down(depth):
    """Alternate between plain and asynchronous tasks."""
    return 0 if not depth else 1 + current_executor().submit(down_async, depth - 1).result()


async def down_async(depth):
    return 0 if not depth else 1 + await current_executor().run(down, depth - 1)


async def fib(n):
    if n < 2:
        return n
    pool = current_executor()
    values = {}

    async def one(n):
        values[n] = await pool.run(fib, n)

    async with anyio.create_task_group() as group:
        group.start_soon(one, n - 1)
        group.start_soon(one, n - 2)
    return values[n - 1] + values[n - 2]


async def deep(n):
    return 1 + await current_executor().run(deep, n - 1) if n else 0


async def mapped(fn, xs):
    return [x async for x in current_executor().map_async(fn, xs)]


async def streamed(fn, *args, prefetch=0):
    async with current_executor().stream(fn, *args, prefetch=prefetch) as stream:
        return [x async for x in stream]


async def streamed_with_an_early_answer(fn, *args):
    """Be held up while the stream is asked for, until it has begun."""
    transport = nested_tasks.worker.transport
    send = transport.send

    def send_and_dawdle(*frame, **options):
        del transport.send
        send(*frame, **options)
        time.sleep(0.2)

    transport.send = send_and_dawdle
    return await streamed(fn, *args)


def streamed_plainly(fn, *args, prefetch=0):
    with current_executor().stream(fn, *args, prefetch=prefetch) as stream:
        return list(stream), stream.value


async def first_of(fn, *args):
    """Take one item of a nested stream, leave it, and tell how long that took."""
    async with current_executor().stream(fn, *args) as stream:
        item = await anext(stream)
        since = time.monotonic()
    return item, time.monotonic() - since


def first_of_plainly(fn, *args):
    with current_executor().stream(fn, *args) as stream:
        item = next(stream)
        since = time.monotonic()
    return item, time.monotonic() - since


async def close_of(fn, *args):
    """Take one item of a nested stream, and what closing it raises."""
    stream = await current_executor().run(fn, *args)
    await anext(stream)
    await stream.aclose()


async def conversation(values):
    async with current_executor().stream(echo_async) as stream:
        await anext(stream)
        return [await stream.asend(value) for value in values]


async def give_up_a_pull(path, fn):
    """Cancel a pull of a nested stream, once it has begun; tell what that has brought about."""
    async with current_executor().stream(fn, path) as stream, anyio.create_task_group() as group:
        group.start_soon(stream.__anext__)
        await until(lambda: os.path.exists(f"{path}/began"))
        group.cancel_scope.cancel()
    return notes(f"{path}/ended")


async def give_up_a_pull_and_wait(path, fn):
    """Stay until the nested stream has ended."""
    await give_up_a_pull(path, fn)
    await until(lambda: os.path.exists(f"{path}/ended"))


async def give_up_on_a_child(path):
    async with anyio.create_task_group() as group:
        group.start_soon(current_executor().run, child_that_waits, path)
        await until(lambda: os.path.exists(f"{path}/began"))
        group.cancel_scope.cancel()
    return notes(f"{path}/ended")


async def give_up_on_a_child_and_wait(path):
    await give_up_on_a_child(path)
    await until(lambda: os.path.exists(f"{path}/ended"))


async def failing_below(error):
    await current_executor().run(failing_child, error)


async def failing_child(error):
    raise error


async def kind_of(pool):
    return type(pool).__name__, await pool.run(double_async, 4)


async def wait_in_a_child(path):
    await current_executor().run(child_that_waits, path)


async def child_that_waits(path):
    try:
        note(f"{path}/began", os.getpid())
        await anyio.sleep(1000)
    finally:
        note(f"{path}/ended", "ended")


def plain_child_that_waits(path):
    note(f"{path}/began", os.getpid())
    time.sleep(1000)


async def wait_in_a_plain_child(path):
    await current_executor().run(plain_child_that_waits, path)


async def children_everywhere(path):
    """Note this worker, and wait in children, some of which run in another one."""
    note(f"{path}/parent", os.getpid())
    async with anyio.create_task_group() as group:
        for _ in range(20):
            group.start_soon(current_executor().run, child_that_waits, path)


async def block_at(number, path):
    """Count; at this number keep the event loop itself from running until there is such a file."""
    for count in range(number + 1):
        if count == number:
            eventually(path.exists)
        yield count


def recur_through_asyncio(depth):
    return 1 + through_asyncio(recur_through_asyncio, depth - 1) if depth else 0


def through_thread(fn, *args):
    results = []
    pool = current_executor()
    thread = threading.Thread(target=lambda: results.append(pool.submit(fn, *args).result(SOON)))
    thread.start()
    thread.join()
    return results[0]


async def run_nested(fn, *args):
    return await current_executor().run(fn, *args)


def die_after_asyncio():
    through_asyncio(double, 1)
    os.kill(os.getpid(), signal.SIGKILL)


def wait_in_callback(fn, *args):
    """Wait for a nested task in the callback of another."""
    pool, got, called = current_executor(), [], threading.Event()

    def call_back(_):
        got.append(pool.submit(fn, *args).result(SOON))
        called.set()

    first = pool.submit(fn, *args)
    first.add_done_callback(call_back)
    first.result(SOON)
    assert called.wait(SOON)
    return got[0]


def threads_named(name):
    return [thread.name for thread in threading.enumerate()].count(name)


class NotANumber:
    def __reduce__(self):
        return int, ("not a number",)


async def some_unloadable():
    for n in range(8):
        yield NotANumber() if n in (2, 5) else n


async def child_of(room):
    (room / "child").touch()
    try:
        await anyio.sleep(1000)
    finally:
        (room / "child-ended").touch()


async def parent_of(room):
    current_executor().submit(child_of, room)
    await anyio.sleep(1000)


async def stream_parent_of(room):
    current_executor().submit(child_of, room)
    yield 1
    await anyio.sleep(1000)


def touch_slowly(path):
    path.touch()
    time.sleep(0.02)


async def in_block():
    async with current_executor() as pool:
        return await pool.run(abs, -1)


# -- when their pool is shut down ------------------------------------------------------------------------------------


async def sleeps(path):
    try:
        yield 0
        note(path, "sleeps")
        await anyio.sleep(1_000)
    finally:
        note(path, "finally")


def blocks(path):
    yield 0
    note(path, "blocks")
    time.sleep(1_000)


def fails_at_its_end():
    try:
        while True:
            yield 0
    finally:
        raise LookupError("from the end")


async def fails_at_its_end_async():
    try:
        while True:
            yield 0
    finally:
        raise LookupError("from the end")


def reads_all(folder, fn):
    with current_executor().stream(fn, 5) as stream:
        items = [next(stream)]
        note(f"{folder}/began", "began")
        assert eventually(lambda: notes(f"{folder}/go"))
        return items + list(stream)


async def reads_all_async(folder, fn):
    async with current_executor().stream(fn, 5) as stream:
        items = [await anext(stream)]
        note(f"{folder}/began", "began")
        await until(lambda: notes(f"{folder}/go"))
        return items + [item async for item in stream]


kept = []


def keeps(fn, *args):
    stream = current_executor().stream(fn, *args).__enter__()
    kept.append(stream)
    return next(stream)


async def keeps_async(fn, *args):
    stream = await current_executor().stream(fn, *args).__aenter__()
    kept.append(stream)
    return await anext(stream)
