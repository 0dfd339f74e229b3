import os

import pytest

from woolexec import PeerPoolExecutor


def test_pool_that_has_ended_writes_into_no_file_that_has_its_descriptors():
    reader, writer = os.pipe2(os.O_NONBLOCK)
    pool = PeerPoolExecutor(1)
    pool.submit(abs, -1).result()
    number = pool._engine._loop._wake_fd
    pool.shutdown()
    with pytest.raises(OSError):
        os.fstat(number)
    os.dup2(writer, number)
    try:
        pool.shutdown()
        pool._engine._loop.wake()
        with pytest.raises(BlockingIOError):
            os.read(reader, 1)
    finally:
        for fd in {reader, writer, number}:
            os.close(fd)
