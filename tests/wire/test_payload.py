import os

import pytest

from woolexec.platform.ipc import shared_file
from woolexec.wire import payload
from woolexec.wire.fast_frames import decode, encode_apart
from woolexec.wire.frames import Return, Send, encode
from woolexec.wire.payload import LARGE, File, Parts, attach, pack, store

SIZES = [[0], [1], [10, 0, 5], [200_000, 63, 64, 65], [3_000_000, 1]]


@pytest.mark.parametrize("sizes", SIZES)
def test_stored_parts_come_back(sizes):
    parts = [os.urandom(size) for size in sizes]

    file = store(parts)

    assert file.extent == tuple(sizes)
    assert len(file) == sum(sizes)
    assert [bytes(part) for part in file.load()] == parts


@pytest.mark.parametrize("size", [1000, 3_000_000])
def test_loaded_parts_are_private_and_writable(size):
    file = store([bytes(size)])
    [one], [other] = file.load(), file.load()

    one[0] = 7

    assert other[0] == 0
    assert file.load()[0][0] == 0


def test_large_buffers_are_aligned_as_numpy_wants_them():
    numpy = pytest.importorskip("numpy")
    _, one, _, other = store([b"body", bytes(1_500_000), b"x", bytes(1_500_000)]).load()

    assert [numpy.frombuffer(buffer, "u1").ctypes.data % 64 for buffer in (one, other)] == [0, 0]


def test_file_that_is_too_short_is_a_value_error():
    with pytest.raises(ValueError, match="shorter"):
        File(shared_file(10), (100,)).load()


def test_dropped_file_closes_its_descriptor():
    file = store([b"x"])
    fd = file.fd

    del file

    with pytest.raises(OSError):
        os.fstat(fd)


def test_file_taken_in_needs_no_descriptor():
    file = store([b"body", b"buffer"])
    fd = file.fd

    parts = file.take_in()

    with pytest.raises(OSError):
        os.fstat(fd)
    assert [bytes(part) for part in parts.load()] == [b"body", b"buffer"]


def test_map_that_cannot_be_made_is_a_copy_instead(monkeypatch):
    def fail(fd, size):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(payload, "_map", fail)
    body, part = store([b"body", b"x" * 3_000_000]).load()

    assert bytes(body) == b"body"
    assert bytes(part) == b"x" * 3_000_000


@pytest.mark.parametrize("sizes", [[5000] * 300, [5000] * 3, [5000, LARGE, 5000, LARGE, 5000, LARGE], [0, 0, LARGE]])
def test_small_buffers_have_memory_of_their_own(sizes):
    parts = [os.urandom(size) for size in (100, *sizes)]

    _, *buffers = store(parts).load()

    assert [bytes(buffer) for buffer in buffers] == parts[1:]
    assert all(isinstance(buffer, bytearray) for buffer in buffers if len(buffer) < LARGE)


def test_only_few_large_buffers_lie_in_the_heap(monkeypatch):
    monkeypatch.setattr(payload, "_WARM", 3)
    before = len(payload._blocks)
    buffers = [store([b"", b"x" * LARGE]).load()[1] for _ in range(6)]

    assert len(payload._blocks) - before <= 3
    assert [bytes(buffer) for buffer in buffers] == [b"x" * LARGE] * 6
    del buffers
    assert len(payload._blocks) == before


def test_file_is_not_made_where_descriptors_are_scarce(monkeypatch):
    monkeypatch.setattr(payload, "is_scarce", lambda fd: True)

    with pytest.raises(OSError, match="few descriptors"):
        store([b"x"])
    assert len(store([b"x"], at_all_costs=True)) == 1


def test_what_is_packed_without_descriptors_does_not_change_with_its_source(monkeypatch):
    monkeypatch.setattr(payload, "is_scarce", lambda fd: True)
    source, constant = bytearray(LARGE), bytes(LARGE)

    packed = pack(b"body", [memoryview(source), constant])
    source[0] = 7

    assert packed.load() == [b"body", bytes(LARGE), constant]
    assert packed.load()[2] is constant


def test_what_fits_into_no_frame_is_a_file_or_an_error(monkeypatch):
    monkeypatch.setattr(payload, "INLINE_LIMIT", 2 * LARGE)
    monkeypatch.setattr(payload, "is_scarce", lambda fd: True)
    assert isinstance(pack(b"body", [bytes(2 * LARGE)]), File)

    def fail(folder):
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(payload, "memory_file", fail)
    with pytest.raises(OSError, match="Too many"):
        pack(b"body", [bytes(2 * LARGE)])


def test_where_there_are_no_memory_files_a_temporary_file_takes_their_place(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = store([b"body" * 100_000, b"buffer"])

    assert [bytes(part) for part in file.load()] == [b"body" * 100_000, b"buffer"]


def test_parts_are_cut_by_their_sizes():
    parts = Parts.cut(b"bodybuffer", (4, 6))

    assert parts.load() == [b"body", b"buffer"]
    assert len(parts) == 10


@pytest.mark.parametrize("extent", [(4,), (4, 7), (11,)])
def test_parts_whose_sizes_do_not_add_up_are_a_value_error(extent):
    with pytest.raises(ValueError):
        Parts.cut(b"bodybuffer", extent)


BODY = [b"body", b"b" * 5000]


class Arena:
    """As much of a ring buffer as attaching needs."""

    def __init__(self, mark):
        self.mark = mark

    def put(self, parts, size):
        self.parts, self.size = parts, size
        return self.mark


def test_payload_is_within_its_frame_where_nothing_else_carries_it():
    frame = Return(call=(1,))

    assert attach(frame, b"small") is None

    assert decode(encode(frame)) == [Return(call=(1,), size=(5,), payload=b"small")]


def test_payload_of_middle_size_is_in_the_ring_buffer():
    frame, arena = Return(call=(1,)), Arena(9)

    assert attach(frame, Parts(BODY), arena) is None

    assert frame == Return(call=(1,), size=(5004,), extent=(4, 5000), arena=9)
    assert (arena.parts, arena.size) == (BODY, 5004)


def test_payload_is_within_its_frame_where_it_is_small_or_the_ring_buffer_full():
    for given, arena in ((b"small", Arena(9)), (Parts(BODY), Arena(0))):
        frame = Return(call=(1,))
        assert attach(frame, given, arena) is None
        assert frame.payload is given
        assert not frame.arena


def test_file_is_returned_and_its_frame_has_its_sizes():
    frame, file = Send(call=1, payload="of another attempt"), store(BODY)

    assert attach(frame, file) is file

    assert frame == Send(call=1, extent=(4, 5000))


def test_file_is_read_into_the_frame_where_files_are_not_carried():
    frame = Send(call=1)

    assert attach(frame, store(BODY), files=False) is None

    assert decode(encode(frame)) == [Send(call=1, extent=(4, 5000), payload=b"".join(BODY))]
    assert decode(encode_apart(frame) + b"".join(BODY)) == decode(encode(frame))


def test_file_may_be_larger_than_any_field_of_its_frame_could_say():
    frame = Return(call=(1,))

    attach(frame, File(shared_file(0), (10, 5 << 30)))

    assert decode(encode(frame)) == [Return(call=(1,), extent=(10, 5 << 30))]


def test_payload_of_others_has_no_more_parts_than_ours_would_have():
    assert len(Parts.cut(bytes(1000), (1,) * 1000).parts) == 1000
    assert len(Parts.cut(bytes(256 * 1001), (256,) * 1001).parts) == 1001
    with pytest.raises(ValueError, match="a payload of 1 bytes has 1001 parts"):
        Parts.cut(b"x", (1, *(0,) * 1000))
    with pytest.raises(ValueError, match="has 1001 parts"):
        File(shared_file(4096), ()).lay_out((1, *(0,) * 1000))


def test_very_large_payload_gets_a_memory_file_although_descriptors_are_scarce(monkeypatch):
    monkeypatch.setattr(payload, "is_scarce", lambda fd: True)
    monkeypatch.setattr(payload, "_WORTH_IT", 2 * LARGE)
    assert isinstance(pack(b"", [bytes(LARGE)]), Parts)
    assert isinstance(pack(b"", [bytes(3 * LARGE)]), File)
