import socket
import subprocess
import sys
import threading

import pytest

from woolexec import PeerPoolExecutor
from woolexec.core.call import Call, Function
from woolexec.engine import permit
from woolexec.engine.permit import Permit

FUNCTION = Function(b"function", "f")


def call():
    return Call(FUNCTION, b"payload", None)


@pytest.fixture
def sockets():
    near, far = socket.socketpair()
    far.setblocking(False)
    with near, far:
        yield near, far


def received(far):
    try:
        return far.recv(4096)
    except BlockingIOError:
        return b""


def test_permits_work_in_this_interpreter():
    assert permit.works


def test_first_of_two_calls_uses_the_permit(sockets):
    near, far = sockets
    one, other, permit = call(), call(), Permit(3)

    assert permit.use(near, one, b"one")
    assert not permit.use(near, other, b"other")

    assert permit.user is one
    assert permit.is_written
    assert permit.revoke() is one
    assert received(far) == b"one"


def test_revoked_permit_writes_nothing(sockets):
    near, far = sockets
    permit = Permit(3)

    assert permit.revoke() is None
    assert not permit.use(near, call(), b"late")

    assert permit.user is None
    assert received(far) == b""


def test_call_that_used_the_permit_of_a_dead_worker_is_known(sockets):
    near, far = sockets
    far.close()
    one, permit = call(), Permit(3)

    assert permit.use(near, one, b"one")

    assert permit.revoke() is one


def test_using_and_revoking_agree_in_every_race():
    """Threads that use a permit, and one that revokes it: what was written is what the revoker was told."""
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    try:
        for number in range(300):
            near, far = socket.socketpair()
            far.setblocking(False)
            with near, far:
                permit, calls, used, revoked = Permit(number), [call() for _ in range(3)], [], []
                barrier = threading.Barrier(4)

                def use(index, near=near, permit=permit, calls=calls, used=used, barrier=barrier):
                    barrier.wait()
                    if permit.use(near, calls[index], b"%d" % index):
                        used.append(index)

                def revoke(permit=permit, revoked=revoked, barrier=barrier):
                    barrier.wait()
                    revoked.append(permit.revoke())

                threads = [threading.Thread(target=use, args=(index,)) for index in range(3)]
                threads.append(threading.Thread(target=revoke))
                for thread in threads:
                    thread.start()
                for thread in threads:
                    thread.join()
                expected = [calls[index] for index in used] or [None]
                assert revoked == expected
                assert received(far) == b"".join(b"%d" % index for index in used)
    finally:
        sys.setswitchinterval(interval)


def test_second_function_is_submitted_to_an_idle_pool():
    with PeerPoolExecutor(1) as pool:
        for _ in range(20):
            assert pool.submit(abs, -1).result(20) == 1
            assert pool.submit(len, "ab").result(20) == 2
            assert pool.submit(max, 1, 2).result(20) == 2


def test_without_permits_every_call_goes_through_the_queue():
    """Where `sendmsg` cannot be used so, the pool works all the same."""
    code = """if True:
        import socket
        from woolexec.platform import ipc
        class Socket(socket.socket):
            def sendmsg(self, *args): raise TypeError("sendmsg() argument 1 must be an iterable")
        pair = ipc.socketpair
        ipc.socketpair = lambda: [Socket(fileno=end.detach()) for end in pair()]
        from woolexec.engine import permit
        ipc.socketpair = pair
        from woolexec import PeerPoolExecutor
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(abs, -1).result(20), pool.submit(len, "ab").result(20), permit.works)
    """
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=50, check=False)
    assert (done.stdout, done.stderr) == ("1 2 False\n", "")
