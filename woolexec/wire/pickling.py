"""
Pickle with the C pickler where it can, with cloudpickle only where needed.

Guarantees:
1. What the C pickler can carry by itself costs nothing more than ``pickle.dumps`` and a search for one word.
2. Nothing is ever pickled as a reference into ``__main__``: workers never import it, so such things travel by value.
3. Buffers of at least `payload.LARGE` bytes leave the pickle and are copied once, into a memory file.
"""

from __future__ import annotations

import pickle

from woolexec.wire.payload import LARGE, File, store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_MAIN = b"__main__"


def dumps(obj: object) -> bytes | File:
    """
    Pickle `obj`, whatever it is.

    :raises Exception: what pickling it raises; `obj` may run any code
    """
    buffers: list[memoryview] = []

    def is_inline(buffer: pickle.PickleBuffer) -> bool:
        try:
            view = buffer.raw()
        except BufferError:  # not contiguous
            return True
        if view.nbytes < LARGE:
            return True
        buffers.append(view)
        return False

    try:
        body = pickle.dumps(obj, 5, buffer_callback=is_inline)
        by_value = _MAIN in body
    except Exception:  # whatever the object's own code raises: cloudpickle may know better
        by_value = True
    if by_value:
        import cloudpickle

        buffers.clear()
        body = cloudpickle.dumps(obj, 5, buffer_callback=is_inline)
    if not buffers and len(body) < LARGE:
        return body
    try:
        return store([body, *buffers])
    except OSError:
        if not buffers:
            return body
    return dumps_inline(obj)  # no descriptors left: send it all through the socket


def dumps_inline(obj: object) -> bytes:
    """Pickle `obj` into bytes, whatever its size."""
    try:
        body = pickle.dumps(obj, 5)
        if _MAIN not in body:
            return body
    except Exception:  # as in dumps
        pass
    import cloudpickle

    return cloudpickle.dumps(obj, 5)  # type: ignore[no-any-return]  # cloudpickle has no types


def loads(payload: bytes | File) -> Any:
    """
    Unpickle a payload.

    :raises Exception: what unpickling it raises; it may run any code
    """
    if isinstance(payload, File):
        body, *buffers = payload.load()
        return pickle.loads(body, buffers=buffers)
    return pickle.loads(payload)
