"""The functions that `test_executor.py` runs in workers; faster to import than a test module."""

import os
import time

from woolexec import current_executor

WATCHDOG = 30


def hold(folder, value=None):
    (folder / "began").touch()
    wait_until((folder / "open").exists)
    return value


def wait_until(condition):
    deadline = time.monotonic() + WATCHDOG
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError("it did not come")
        time.sleep(0.001)


def count_in(path):
    """Add a line to a file; return how many there are."""
    with open(path, "a+b") as file:
        file.write(b".")
        file.flush()
        return file.tell()


def fail_until(path, times, exc):
    if count_in(path) <= times:
        raise exc
    return count_in(path)


def die_until(path, times):
    if count_in(path) <= times:
        os._exit(7)
    return "alive"


def keyword_only(a, /, b, *args, c, **kwargs):
    return a, b, args, c, kwargs


def set_variable(value):
    os.environ["WOOLEXEC_TEST_INITIALIZED"] = value


def refuse():
    raise LookupError("in the initializer")


def outer():
    return current_executor().submit(abs, -1).result()


async def count_in_async(path):
    return count_in(path)


def map_and_forget(path, times):
    current_executor().map(count_in, [path] * times)
    list(current_executor().map(count_in, [path] * 2))


def map_in_a_task(how):
    results = list(current_executor().map(int, ["1", "one", "3"], return_exceptions=True, **how))
    errors = [result for result in results if isinstance(result, ValueError)]
    assert errors[0].__notes__ == ["item 1 of the map"]
    return sorted(result for result in results if isinstance(result, int))


def tell_pid_and_exit(path):
    path.write_text(str(os.getpid()))
    os._exit(7)


def fibonacci(n):
    if n < 2:
        return n
    pool = current_executor()
    one, other = pool.submit(fibonacci, n - 1), pool.submit(fibonacci, n - 2)
    return one.result() + other.result()


def poll(timeout):
    future = current_executor().submit(abs, -5)
    while True:
        try:
            return future.result(timeout=timeout)
        except TimeoutError:
            continue


def look():
    future = current_executor().submit(abs, -5)
    while not future.done():
        time.sleep(0.001)
    return future.result()


def use_as_argument(executor):
    return executor.submit(abs, -3).result()


def nested_options(path):
    return current_executor().with_options(retries=1).submit(die_until, path, 1).result()


class Thing:
    pass


def make_thing(_):
    return Thing()
