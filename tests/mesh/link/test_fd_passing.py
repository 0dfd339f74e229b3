"""Memory files that are passed from one end of a link to the other on one host."""

import asyncio
import contextlib
import os
import socket
import subprocess
import sys

import numpy as np
import pytest

from tests.limits import all_descriptors_taken
from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, few_descriptors, joined
from woolexec.errors import ProtocolError
from woolexec.mesh.link import fd_passing
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.fd_passing import Passage, Passages, enter
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Handed, Part, Return
from woolexec.wire.payload import LARGE, File, store
from woolexec.wire.wire_pb2 import Passage as Directions

BLOB = os.urandom(LARGE)


@contextlib.contextmanager
def two_ends():
    ends = [Passage(sock) for sock in socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)]
    for end in ends:
        end._sock.setblocking(False)
    try:
        yield ends
    finally:
        for end in ends:
            end.close()


def meet(meeting):
    """Run `meeting` beside a peer's passages; return what it returns."""

    async def main():
        passages = Passages()
        task = asyncio.get_running_loop().create_task(passages.run())
        try:
            async with asyncio.timeout(PATIENCE):
                await asyncio.sleep(0)  # it listens
                return await meeting(passages)
        finally:
            task.cancel()
            await asyncio.wait({task})

    return asyncio.run(main())


def test_file_is_the_same_at_the_other_end():
    with two_ends() as (here, there):
        file = store([BLOB, b"more"])
        number = here.give(file)
        taken = there.take(number)
        assert os.path.sameopenfile(file.fd, taken.fd)
        assert not os.get_inheritable(taken.fd)


def test_files_may_be_taken_in_any_order():
    with two_ends() as (here, there):
        files = [store([bytes([n])]) for n in range(5)]
        numbers = [here.give(file) for file in files]
        for n in (3, 0, 4, 2, 1):
            assert os.path.sameopenfile(there.take(numbers[n]).fd, files[n].fd)


def test_file_that_was_not_handed_over_is_a_broken_stream():
    with two_ends() as (here, there), pytest.raises(ProtocolError, match="not handed over"):
        here.give(store([BLOB]))
        there.take(2)


def test_other_end_that_is_gone_is_a_broken_stream():
    with two_ends() as (here, there):
        here.close()
        with pytest.raises(ProtocolError):
            there.take(1)
        assert there.give(store([BLOB])) == 0


def test_socket_that_is_full_takes_no_more_until_some_were_taken():
    with two_ends() as (here, there):
        file, given = store([BLOB]), []
        while number := here.give(file):
            given.append(number)
        assert len(given) > 10
        assert all(isinstance(there.take(number), File) for number in given)
        assert here.give(file) == given[-1] + 1


def test_files_that_nobody_takes_are_bounded_in_bytes():
    with two_ends() as (here, there):
        here._on_the_way._limit = 4 * len(BLOB)
        given = [here.give(store([BLOB])) for _ in range(6)]
        assert given == [1, 2, 3, 4, 0, 0]
        for number in (1, 2):
            there.take(number)
        assert [here.give(store([BLOB])) for _ in range(3)] == [5, 6, 0]


def test_file_of_any_size_is_handed_over_where_none_is_on_the_way():
    with two_ends() as (here, there):
        here._on_the_way._limit = 1
        for number in (1, 2):
            assert here.give(store([BLOB])) == number
            there.take(number)


def test_file_for_which_no_descriptor_is_left_costs_its_call_alone():
    with two_ends() as (here, there):
        numbers = [here.give(store([BLOB])) for _ in range(2)]
        with few_descriptors(3):  # below the reserve, as if another thread had taken that
            assert isinstance(there.take(numbers[0]), OSError)
        assert isinstance(there.take(numbers[1]), File)


def test_file_is_taken_where_all_descriptors_are_in_use_but_the_reserve():
    with two_ends() as (here, there):
        number = here.give(store([BLOB]))
        with all_descriptors_taken():
            assert isinstance(there.take(number), File)


@pytest.mark.parametrize("what", ["device", "socket", "file", "memory file that may change"])
def test_what_is_no_memory_file_is_not_taken(what, tmp_path):
    made = {
        "device": lambda: os.open(os.devnull, os.O_WRONLY),
        "socket": lambda: socket.socket().detach(),
        "file": lambda: os.open(tmp_path / "file", os.O_CREAT | os.O_RDWR),
        "memory file that may change": lambda: os.memfd_create("woolexec"),
    }
    with two_ends() as (here, there):
        file = File(made[what](), ())
        assert not here.give(file)
        socket.send_fds(here._sock, [(1).to_bytes(8, "little")], [file.fd])
        with pytest.raises(ProtocolError, match="other than a sealed memory file"):
            there.take(1)


def test_descriptors_that_are_not_asked_for_are_closed():
    with two_ends() as (here, there):
        before = len(os.listdir("/proc/self/fd"))
        file = store([BLOB])
        for message, files in ((b"12345678", [file.fd] * 2), (b"short", [file.fd]), (b"longer than 8", [file.fd])):
            socket.send_fds(here._sock, [message], files)
            with pytest.raises(ProtocolError):
                there.take(7)
        eventually(lambda: len(os.listdir("/proc/self/fd")) == before + 1)


def test_no_more_files_lie_here_than_frames_can_ask_for(monkeypatch):
    monkeypatch.setattr("woolexec.mesh.link.fd_passing._UNTAKEN", 3)
    with two_ends() as (here, there):
        numbers = [here.give(store([BLOB])) for _ in range(5)]
        with pytest.raises(ProtocolError, match="one too many"):
            there.take(numbers[-1])


def test_there_are_no_passages_where_kernels_do_not_tell_which_they_are(apart, monkeypatch):
    monkeypatch.delattr(socket, "SOCK_NONBLOCK", raising=False)  # as elsewhere than on Linux
    passages = Passages()
    asyncio.run(passages.run())
    assert passages.expect(None)[0] == b""


@pytest.mark.parametrize("told", [b"", b"\xff"])
def test_what_another_peer_tells_is_passed_over(told):
    assert asyncio.run(enter(told)) is None


def test_part_of_what_was_handed_over_is_a_broken_stream():
    with two_ends() as (here, there):
        arriving = Arriving()
        arriving.passage = there
        arriving.add(Handed(call=1, file=here.give(store([BLOB]))))
        with pytest.raises((ProtocolError, PermissionError)):
            arriving.add(Part(call=1, data=b"more"))


def test_frame_goes_in_parts_while_nothing_can_be_handed_over():
    with two_ends() as (here, there):
        outbox = Outbox(set())
        outbox.passage = here
        there.close()
        frame = Return(call=(7,), seconds=(0.0,), size=(0,))
        outbox.put_frame(7, frame, store([BLOB]))
        assert outbox._behind[7]


def test_file_that_is_handed_over_where_nobody_takes_one_is_a_broken_stream():
    with pytest.raises(ProtocolError):
        Arriving().add(Handed(call=1, file=1))


def test_client_on_this_host_gets_in_and_only_once():
    async def meeting(passages):
        taken = []
        told, forget = passages.expect(taken.append)
        ours = await enter(told)
        number = taken[0].give(store([BLOB]))
        assert len(ours.take(number)) == 0  # its extent comes with its frame
        assert await enter(told) is None
        forget()
        ours.close()
        taken[0].close()

    meet(meeting)


@pytest.mark.parametrize("field", ["boot", "name", "key"])
def test_nobody_gets_in_who_is_elsewhere_or_has_no_key(field):
    async def meeting(passages):
        taken = []
        told, _ = passages.expect(taken.append)
        directions = Directions.FromString(told)
        value = getattr(directions, field)
        setattr(directions, field, value[::-1] if field != "name" else "\0woolexec-nobody")
        assert await enter(directions.SerializeToString()) is None
        assert not taken

    meet(meeting)


def test_client_that_is_not_expected_any_more_does_not_get_in():
    async def meeting(passages):
        taken = []
        told, forget = passages.expect(taken.append)
        forget()
        assert await enter(told) is None
        assert not taken

    meet(meeting)


def test_other_end_without_the_second_half_of_the_key_is_not_trusted():
    async def main():
        name = f"\0woolexec-test-{os.getpid()}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as rogue:
            rogue.bind(name)
            rogue.listen()
            rogue.setblocking(False)
            told = Directions(boot=Passages()._boot, name=name, key=bytes(32)).SerializeToString()
            entering = asyncio.create_task(enter(told))
            sock, _ = await asyncio.get_running_loop().sock_accept(rogue)
            with sock:
                await asyncio.get_running_loop().sock_sendall(sock, b"x" * 16)
                assert await entering is None

    asyncio.run(main())


KNOCK = """
import os, socket, sys
os.setgid(65534); os.setuid(65534)
sock = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
sock.connect(chr(0) + sys.argv[1])
try:
    sock.send(bytes.fromhex(sys.argv[2]))
    print(sock.recv(16).hex())
except OSError:
    print()
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="takes a second user")
def test_another_user_does_not_get_in_even_with_the_key():
    async def meeting(passages):
        taken = []
        told, _ = passages.expect(taken.append)
        directions = Directions.FromString(told)
        half = directions.key[:16].hex()
        command = [sys.executable, "-c", KNOCK, directions.name[1:], half]
        answer = await asyncio.to_thread(subprocess.run, command, stdout=-1, text=True, check=True)
        assert answer.stdout.strip() == ""
        assert not taken
        ours = await enter(told)  # the key has not been used up
        assert ours is not None
        ours.close()
        taken[0].close()

    meet(meeting)


@pytest.mark.parametrize("user", [os.geteuid() + 1, 4_000_000_000])
def test_client_does_not_use_the_socket_of_another_user(monkeypatch, user):
    async def meeting(passages):
        taken = []
        told, _ = passages.expect(taken.append)
        monkeypatch.setattr(fd_passing, "user_of", lambda _: user)
        assert await enter(told) is None
        monkeypatch.setattr(fd_passing, "user_of", lambda _: 0)  # root may do anything anyway
        ours = await enter(told)
        assert ours is not None
        ours.close()
        taken[0].close()

    meet(meeting)


def test_strangers_who_say_nothing_keep_nobody_out_for_long(monkeypatch):
    monkeypatch.setattr("woolexec.mesh.link.fd_passing._GREETING", 0.3)
    monkeypatch.setattr("woolexec.mesh.link.fd_passing._STRANGERS", 4)

    async def meeting(passages):
        loop = asyncio.get_running_loop()
        with contextlib.ExitStack() as stack:
            for _ in range(4):
                sock = stack.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET))
                sock.setblocking(False)
                await loop.sock_connect(sock, passages._name)
            while True:  # they fill all the room there is; then they are turned away
                taken = []
                told, _ = passages.expect(taken.append)
                if (ours := await enter(told)) is not None:
                    ours.close()
                    taken[0].close()
                    return
                await asyncio.sleep(0.05)

    meet(meeting)


def test_large_payloads_go_beside_the_link_both_ways(peer):
    array = np.arange(LARGE)
    with joined(peer) as pool:
        assert (pool.submit(np.negative, array).result(PATIENCE) == -array).all()
        (link,) = pool._peers.links
        assert link._outbox.passage._given == 1
        (served,) = peer._acceptor.served
        assert served.outbox.passage._given == 1


def test_payload_that_cannot_be_handed_over_is_not_tried_again_on_its_way_into_parts(peer, monkeypatch):
    with joined(peer) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        passage = pool._peers.links[0]._outbox.passage
        give, tries = passage.give, []
        # Full at the first try, not at a second: by then the frame names a slot that is defined in the parts.
        monkeypatch.setattr(passage, "give", lambda file: tries.append(file) or (give(file) if tries[1:] else 0))
        assert pool.submit(len, BLOB).result(PATIENCE) == len(BLOB)
        assert len(tries) == 1


def test_items_of_a_map_go_beside_the_link(peer):
    blobs = [bytes([n]) * LARGE for n in range(8)]
    with joined(peer) as pool:
        assert list(pool.map(len, blobs, chunksize=4)) == [LARGE] * 8
        (link,) = pool._peers.links
        assert link._outbox.passage._given == 2


def test_large_payloads_of_which_a_peer_has_no_descriptor_cost_their_calls_alone(monkeypatch):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        pool.submit(abs, -1).result(PATIENCE)
        (served,) = peer._acceptor.served
        take = served._arriving.passage.take
        monkeypatch.setattr(served._arriving.passage, "take", lambda number: (take(number), OSError("none left"))[1])
        with pytest.raises(OSError, match="none left"):
            pool.submit(len, BLOB).result(PATIENCE)
        with pytest.raises(OSError, match="none left"):
            list(pool.map(len, [BLOB] * 4, chunksize=4))
        monkeypatch.undo()
        assert pool.submit(len, BLOB).result(PATIENCE) == len(BLOB)


def test_passage_ends_with_its_link(peer, tmp_path):
    with joined(peer) as pool:
        held = pool.submit(tasks.hold_data, tmp_path, BLOB)
        eventually((tmp_path / "held").exists)
        (served,) = peer._acceptor.served
        passage = served.outbox.passage
        (tmp_path / "release").touch()
        held.result(PATIENCE)
    eventually(lambda: passage._sock.fileno() == -1)
