import os
import select
import socket
import subprocess
import sys

import pytest

import woolexec
from woolexec.platform import ipc

SEALS = pytest.mark.skipif(not hasattr(os, "memfd_create"), reason="this system has no memory files")


@pytest.fixture
def fd():
    fd = ipc.memory_file()
    os.ftruncate(fd, 4096)
    yield fd
    os.close(fd)


def test_wake_pipe_never_waits():
    read, write = ipc.wake_pipe()
    try:
        ipc.drain(read)
        while True:
            try:
                os.write(write, bytes(4096))
            except BlockingIOError:
                break
        assert ipc.can_read(read, 0)
        ipc.drain(read)
        assert not ipc.can_read(read, 0)
    finally:
        os.close(read)
        os.close(write)


def test_file_is_written_and_read_whole_however_little_the_system_does_in_one_call(fd, monkeypatch):
    real_read, real_write = os.preadv, os.pwritev
    monkeypatch.setattr(os, "preadv", lambda fd, views, offset: real_read(fd, [views[0][:7]], offset))
    monkeypatch.setattr(os, "pwritev", lambda fd, pieces, offset: real_write(fd, [pieces[0][:7]], offset))
    ipc.write_whole(fd, [b"12345", bytes(range(40)), b"", b"end"])
    found = bytearray(43)
    ipc.read_whole(fd, memoryview(found), 5)

    assert found == bytes(range(40)) + b"end"


def test_file_that_is_too_short_cannot_be_read_whole(fd):
    with pytest.raises(ValueError, match="unexpected end"):
        ipc.read_whole(fd, memoryview(bytearray(5000)), 0)


@pytest.mark.parametrize("has_epoll", [True, False])
def test_fast_poll_waits_in_its_unit(monkeypatch, has_epoll):
    if not has_epoll:
        monkeypatch.delattr(select, "epoll", raising=False)
    poll, unit = ipc.fast_poll()
    read, write = ipc.wake_pipe()
    poll.register(read, ipc.READABLE)

    assert poll.poll(0.001 * unit) == []
    os.write(write, b".")
    assert poll.poll(50 * unit) == [(read, ipc.READABLE)]

    os.close(read)
    os.close(write)
    if hasattr(poll, "close"):
        poll.close()


def test_shared_map_is_seen_by_all_and_private_map_by_none(fd):
    one, other, private = (
        ipc.map_shared(fd, 4096),
        ipc.map_shared(fd, 4096, is_read_only=True),
        ipc.map_private(fd, 4096),
    )

    one[0] = 1
    private[1] = 2

    assert (one[:2], other[:2], private[1]) == (b"\1\0", b"\1\0", 2)
    with pytest.raises(TypeError):
        other[0] = 3


def test_private_map_keeps_a_descriptor_only_where_it_says_so(fd):
    before = os.dup(fd)
    os.close(before)
    kept = ipc.map_private(fd, 4096)
    after = os.dup(fd)
    os.close(after)

    assert (after > before) is ipc.KEEPS_DESCRIPTOR
    kept.close()


def test_fresh_memory_is_empty():
    assert ipc.map_memory(5000)[:] == bytes(5000)


@SEALS
def test_sealed_file_can_neither_grow_nor_shrink_nor_be_written(fd):
    assert not ipc.is_sealed(fd)
    ipc.seal(fd)
    ipc.seal(fd)

    assert ipc.is_sealed(fd)
    for change in (lambda: os.ftruncate(fd, 1), lambda: os.ftruncate(fd, 9000), lambda: os.pwrite(fd, b"x", 0)):
        with pytest.raises(PermissionError):
            change()


def test_without_memory_files_an_unlinked_file_is_used(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    fd = ipc.memory_file()

    os.ftruncate(fd, 100)
    assert os.fstat(fd).st_nlink == 0
    ipc.seal(fd)
    assert not ipc.is_sealed(fd)
    os.close(fd)


def test_descriptors_arrive_with_their_message_and_are_not_inherited(fd):
    near, far = ipc.socketpair()
    ipc.send_with_fds(near, b"two", [fd, fd])
    data, fds, is_lost = ipc.receive_with_fds(far, 10, 2)

    assert (data, len(fds), is_lost) == (b"two", 2, False)
    for received in fds:
        assert os.path.sameopenfile(received, fd)
        assert not os.get_inheritable(received)
        os.close(received)
    near.close()
    far.close()


def test_descriptors_for_which_there_is_no_space_are_lost(fd):
    near, far = ipc.socketpair()
    ipc.send_with_fds(near, b"many", [fd] * 20)
    _, fds, is_lost = ipc.receive_with_fds(far, 10, 1)

    assert is_lost
    assert len(fds) < 20
    for received in fds:
        os.close(received)
    near.close()
    far.close()


def test_message_that_was_only_looked_at_stays():
    near, far = ipc.socketpair()
    near.send(b"once")

    assert ipc.receive_with_fds(far, 10, 1, ipc.PEEK)[0] == b"once"
    assert far.recv(10, ipc.DONT_WAIT) == b"once"
    with pytest.raises(BlockingIOError):
        far.recv(10, ipc.DONT_WAIT)
    near.close()
    far.close()


def test_unix_socket_has_the_methods_of_event_loops():
    with ipc.unix_socket() as stream, ipc.unix_socket("DGRAM") as datagrams:
        assert isinstance(stream, socket.socket)
        assert (stream.type, datagrams.type) == (socket.SOCK_STREAM, socket.SOCK_DGRAM)


def test_socket_of_a_descriptor_owns_it():
    near, far = ipc.socketpair()
    again = ipc.socket_of(near.detach())
    again.sendall(b"text")
    again.close()
    assert far.recv(10) == b"text"
    assert far.recv(10) == b""
    far.close()


def test_buffers_are_as_large_as_the_system_grants():
    near, far = ipc.socketpair()
    ipc.set_buffer_size(near, 4096)
    small = near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF)
    ipc.set_buffer_size(near, 1 << 17)

    assert near.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) > small
    near.close()
    far.close()


def test_platform_folder_imports_nothing_that_takes_long():
    """The caller, the fork server and its workers load it before the first result."""
    code = """if True:
        import sys
        before = set(sys.modules)
        from woolexec.platform import ipc, posix
        slow = {"enum", "fcntl", "selectors", "signal", "socket", "tempfile", "typing"}
        print(sorted(slow & set(sys.modules) - before))
    """
    path = os.path.dirname(woolexec.__path__[0])
    ran = subprocess.run(
        [sys.executable, "-S", "-c", code],
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert ran.stdout == "[]\n", ran.stderr
