import os
import socket

import pytest

from woolexec.errors import ProtocolError
from woolexec.platform.ipc import shared_file
from woolexec.wire.frames import Next, Recalled, Stop, Wait, encode
from woolexec.wire.shared_page import SIZE
from woolexec.worker.process import Worker
from woolexec.worker.socket_transport import SocketTransport


@pytest.fixture
def engine():
    """The engine's end of a worker that is in this process, and the worker."""
    pairs = socket.socketpair(), socket.socketpair()
    page_fd = shared_file(SIZE)
    worker = Worker(pairs[0][1], pairs[1][1], page_fd)
    yield SocketTransport(pairs[0][0]), worker
    worker.transport._descriptors.reserve.lend()
    worker.page.close()
    os.close(page_fd)
    for pair in pairs:
        for end in pair:
            end.close()


@pytest.mark.parametrize("frame", [Wait(call=1), Recalled(call=(1,))])
def test_frame_that_is_not_for_a_worker_is_an_error_that_names_it(engine, frame):
    transport, worker = engine
    transport.send(encode(frame))

    with pytest.raises(ProtocolError, match=f"a worker does not accept {type(frame).__name__} frames"):
        worker.reading.receive(True)


def test_command_for_a_call_that_has_ended_is_ignored(engine):
    transport, worker = engine
    transport.send(encode(Next(call=7)))
    transport.send(encode(Stop()))

    while not worker.reading.stopping:
        worker.reading.receive(True)
