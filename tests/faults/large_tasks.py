"""Tasks that send large payloads; quick to import."""

from tests.faults.tasks import SOON, die
from woolexec import current_executor
from woolexec.wire.payload import LARGE


def large(size):
    return bytes(size)


def die_holding(value):
    die()
    return value


def echo(value):
    while True:
        value = yield value


def grow():
    yield bytes(2 * LARGE)


def nested(way):
    """Send a large payload to a nested task, or have it send one."""
    pool = current_executor()
    if way == "argument":
        return pool.submit(len, bytes(2 * LARGE)).result(SOON)
    if way == "result":
        return len(pool.submit(large, 2 * LARGE).result(SOON))
    if way == "item":
        with pool.stream(grow) as stream:
            return len(next(stream))
    with pool.stream(echo, b"") as stream:
        next(stream)
        return len(stream.send(bytes(2 * LARGE)))
