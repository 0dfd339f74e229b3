import os
import threading

import pytest

from woolexec.platform.ipc import is_lent, is_sealed
from woolexec.wire import payload as payloads
from woolexec.wire import (
    socket_stream,  # noqa: F401  # sets `lend`
    spare_files,
)
from woolexec.wire.payload import LARGE, File, pack, spares, store
from woolexec.wire.pickling import dumps, dumps_arguments
from woolexec.wire.spare_files import LIMIT, LentFile, drop_spares
from woolexec.wire.unpickling import loads

VALUES = {
    "in band": [os.urandom(20_000) for _ in range(40)],
    "small buffers": [bytearray(5000) for _ in range(300)],
    "large bytes": b"x" * 3_000_000,
    "bytes of middle size": b"x" * 200_000,
    "a buffer of middle size": bytearray(200_000),
}


@pytest.fixture(autouse=True)
def lender():
    drop_spares()
    payloads.lenders.add(0)
    yield
    payloads.lenders.discard(0)
    drop_spares()


def lent(value):
    return dumps(value, inputs=[])


def received(file):
    """Send a file; return what its receiver has."""
    return File(os.dup(file.pass_on()), file.extent)


def used_again(value=VALUES["in band"]):
    """Return whether the next payload is written to the spare file that there is."""
    spare = os.fstat(spares[0][0]).st_ino
    file = lent(value)
    return os.fstat(file.fd).st_ino == spare


@pytest.mark.parametrize("kind", VALUES)
def test_file_whose_receiver_has_copied_everything_is_used_again(kind):
    file = lent(VALUES[kind])
    assert isinstance(file, LentFile)
    theirs = received(file)
    del file
    assert loads(theirs) == VALUES[kind]
    assert len(spares) == 1
    del theirs
    spare = os.fstat(spares[0][0]).st_ino
    file = lent(VALUES[kind])
    assert os.fstat(file.fd).st_ino == spare
    assert loads(received(file)) == VALUES[kind]


def test_it_is_not_used_again_while_the_receiver_may_unpickle_it():
    file = lent(VALUES["in band"])
    theirs = received(file)
    del file
    value = loads(theirs)
    assert not used_again()
    assert loads(theirs) == value
    del theirs
    assert used_again()


def test_it_is_not_used_again_if_the_receiver_has_never_unpickled_it():
    file = lent(VALUES["in band"])
    theirs = received(file)
    del file, theirs
    assert not used_again()


def test_it_is_not_used_again_if_unpickling_failed():
    file = pack(b"no pickle" * LARGE, [], lends=True)
    theirs = received(file)
    del file
    with pytest.raises(Exception, match="invalid load key"):
        loads(theirs)
    del theirs
    assert not used_again()


def test_result_that_lies_in_the_file_is_never_written_over():
    value = bytearray(os.urandom(2_000_000))
    file = lent(value)
    theirs = received(file)
    del file
    result = loads(theirs)
    del theirs
    for _ in range(10):
        received(lent(bytearray(2_000_000)))
    assert result == value


def test_parts_that_were_taken_out_of_it_are_never_written_over():
    file = lent(VALUES["in band"])
    theirs = received(file)
    del file
    parts = theirs.load()
    before = [bytes(part) for part in parts]
    assert loads(theirs) == VALUES["in band"]
    del theirs
    assert not used_again()
    assert [bytes(part) for part in parts] == before


def test_file_that_was_never_sent_or_was_sent_twice_is_closed():
    file = lent(VALUES["in band"])
    del file
    assert not spares
    file = lent(VALUES["in band"])
    for theirs in (received(file), received(file)):
        loads(theirs)
    del file, theirs
    assert not spares


def test_file_that_its_sender_has_read_is_closed():
    file = lent(VALUES["in band"])
    theirs = received(file)
    loads(theirs)
    parts = file.load()
    del file, theirs
    assert not spares
    assert parts


def test_file_that_is_passed_on_is_sealed_first():
    file = lent(VALUES["in band"])
    theirs = received(file)
    del file
    third = received(theirs)
    assert is_sealed(third.fd)
    loads(theirs)
    loads(third)
    del theirs, third
    assert not used_again()


def test_file_that_cannot_be_sealed_is_not_passed_on(monkeypatch):
    file = lent(VALUES["in band"])
    theirs = received(file)
    monkeypatch.setattr(payloads, "seal", lambda _: None)
    assert theirs.pass_on() == -1


def test_ordinary_files_are_sealed_and_get_no_mark(tmp_path):
    file = store([bytes(LARGE)])
    assert is_sealed(file.fd)
    assert not is_lent(file.fd)
    on_disk = store([lent(VALUES["in band"]).load()[0]], folder=str(tmp_path))
    theirs = received(on_disk)
    before = os.fstat(theirs.fd).st_size
    loads(theirs)
    del theirs
    assert os.fstat(on_disk.fd).st_size == before


def test_smaller_payload_does_not_show_the_end_of_a_larger_one():
    loads(received(lent(b"secret" * 100_000)))
    spare = os.fstat(spares[0][0]).st_ino
    file = lent(b"x" * 300_000)
    assert os.fstat(file.fd).st_ino == spare
    assert loads(received(file)) == b"x" * 300_000
    assert loads(file) == b"x" * 300_000


def test_number_and_bytes_of_spare_files_are_limited():
    for _ in range(3):
        files = [lent(bytearray(LIMIT // 3)) for _ in range(12)]
        for file in files:
            received(file)
        del files, file
        assert len(spares) <= 4
        assert sum(capacity for _, _, capacity, _ in spares) <= LIMIT
    assert not isinstance(lent(bytes(LIMIT)), LentFile)


def test_none_are_kept_where_descriptors_are_scarce(monkeypatch):
    file = lent(VALUES["in band"])
    received(file)
    monkeypatch.setattr(spare_files, "is_scarce", lambda _: True)
    monkeypatch.setattr(payloads, "is_scarce", lambda _: True)
    before = len(os.listdir("/proc/self/fd"))
    del file
    assert len(os.listdir("/proc/self/fd")) == before - 1
    assert isinstance(lent(bytearray(LARGE)), bytes)


def test_none_are_made_in_a_process_without_engines_and_those_that_are_left_are_closed():
    file = lent(VALUES["in band"])
    theirs = received(file)
    payloads.lenders.discard(0)
    assert not isinstance(lent(VALUES["in band"]), LentFile)
    del file
    assert not spares
    assert loads(theirs) == VALUES["in band"]


def test_outcomes_for_other_tasks_and_values_are_ordinary_files():
    value = VALUES["in band"]
    assert isinstance(dumps(value, is_outcome=True, goes_home=True), LentFile)
    assert not isinstance(dumps(value, is_outcome=True), LentFile)
    assert not isinstance(dumps(value, "value", keeps_flags=True), LentFile)
    assert isinstance(dumps_arguments((value,), ("value",)), LentFile)


def test_forked_child_neither_uses_the_spare_files_of_its_parent_nor_marks_what_that_has_received():
    file = lent(VALUES["in band"])
    theirs = received(file)
    del file
    value = loads(theirs)
    if not (pid := os.fork()):
        status = 1
        try:
            theirs.__del__()
            status = used_again()
        finally:
            os._exit(status)
    assert os.waitpid(pid, 0)[1] == 0
    assert not used_again()
    assert loads(theirs) == value


def test_threads_never_get_the_same_file():
    def send(number):
        value = [bytes([number, index]) * 15_000 for index in range(20)]
        for _ in range(200):
            if loads(received(lent(value))) != value:
                wrong.append(number)

    wrong = []
    threads = [threading.Thread(target=send, args=(number,)) for number in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not wrong


def test_memory_that_cannot_be_had_closes_the_file(monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(spare_files, "write_whole", fail)
    monkeypatch.setattr(payloads, "write_whole", fail)
    before = len(os.listdir("/proc/self/fd"))
    assert lent(VALUES["in band"])  # it travels as bytes
    assert len(os.listdir("/proc/self/fd")) == before
