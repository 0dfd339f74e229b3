"""The loops on which coroutines and streams run; each test runs in a worker, whose end ends the loop's threads."""

import asyncio
import queue
from types import SimpleNamespace

import pytest

from woolexec import PeerPoolExecutor
from woolexec.core.call import ASYNCIO, TRIO
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Close, Next, Return, Start, Started
from woolexec.wire.pickling import dumps
from woolexec.worker.job import Job
from woolexec.worker.process import make_lane

SOON = 20


async def wait_for_ever():
    import sniffio

    if sniffio.current_async_library() == "trio":
        import trio

        await trio.sleep_forever()
    await asyncio.Event().wait()
    yield


def end_a_stream_before_its_pull_has_begun(backend):
    said = queue.SimpleQueue()
    transport = SimpleNamespace(
        send=lambda frames, file=None, payload=b"": said.put(bytes(frames) + bytes(payload)), send_all=None
    )
    lane = make_lane(backend, transport, None)
    slot = SimpleNamespace(get=lambda _job, _transport: wait_for_ever)
    lane.start(Job(1, slot, dumps(((), {})), Start(function=0, call=(1,), lane=backend)))
    (started,) = decode(said.get(timeout=SOON))
    lane.put(lambda: (lane._control(Next(call=1)), lane._control(Close(call=1))))
    (ended,) = decode(said.get(timeout=SOON))
    return type(started), type(ended)


@pytest.mark.parametrize("backend", [ASYNCIO, TRIO])
def test_end_of_a_stream_that_comes_with_a_pull_does_not_wait_for_it(backend):
    with PeerPoolExecutor(1) as executor:
        assert executor.submit(end_a_stream_before_its_pull_has_begun, backend).result(2 * SOON) == (Started, Return)
