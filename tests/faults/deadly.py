"""Arguments that end their process when they are dropped, and tasks that take them; quick to import."""

import os


class Deadly:
    """Ends its process when it is dropped, once it has travelled."""

    armed = False

    def __reduce__(self):
        return arm, ()

    def __del__(self):
        if self.armed:
            os._exit(7)


def arm():
    deadly = Deadly()
    deadly.armed = True
    return deadly


def plain(_):
    return "done"


def raises(_):
    raise LookupError("done")


def raises_with_another_in_its_frame(_):
    other = arm()
    raise LookupError("done", len(repr(other)) and None)


async def coroutine(_):
    import asyncio

    await asyncio.sleep(0)
    return "done"


async def at_once(_):
    return "done"


async def coroutine_that_raises(_):
    raise LookupError("done")


def returns_a_coroutine(_):
    return coroutine(_)


def second(_, value):
    return value


def stream(_):
    yield "first"
    yield "last"


async def async_stream(_):
    yield "first"
    yield "last"
