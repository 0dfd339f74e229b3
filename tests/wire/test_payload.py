import os

import pytest

from woolexec.wire import payload
from woolexec.wire.payload import File, Parts, shared_file, store

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
    _, *buffers = store([b"body", bytes(1_500_000), b"x", bytes(1_500_000)]).load()

    assert [numpy.frombuffer(buffer, "u1").ctypes.data % 64 for buffer in buffers] == [0, 0, 0]


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

    file.take_in()

    with pytest.raises(OSError):
        os.fstat(fd)
    assert [bytes(part) for part in file.load()] == [b"body", b"buffer"]


def test_file_taken_in_is_written_out_to_be_shared():
    file = store([b"body", b"buffer"])
    file.take_in()

    fd = file.share()

    assert os.fstat(fd).st_size > 0
    assert [bytes(part) for part in file.load()] == [b"body", b"buffer"]


def test_map_that_cannot_be_made_is_a_copy_instead(monkeypatch):
    monkeypatch.setattr(payload, "_MAPS_LIMIT", 0)
    [part] = store([bytes(3_000_000)]).load()

    assert isinstance(part, bytearray)


def test_where_there_are_no_memory_files_a_temporary_file_takes_their_place(monkeypatch):
    monkeypatch.delattr(os, "memfd_create", raising=False)
    file = store([b"body" * 100_000, b"buffer"])

    assert [bytes(part) for part in file.load()] == [b"body" * 100_000, b"buffer"]


def test_maps_are_counted_while_they_live():
    before = payload._Map.alive
    parts = store([bytes(3_000_000)]).load()
    assert payload._Map.alive == before + 1

    del parts

    assert payload._Map.alive == before


def test_parts_are_cut_by_their_sizes():
    parts = Parts.cut(b"bodybuffer", (4, 6))

    assert parts.load() == [b"body", b"buffer"]
    assert len(parts) == 10


@pytest.mark.parametrize("extent", [(4,), (4, 7), (11,)])
def test_parts_whose_sizes_do_not_add_up_are_a_value_error(extent):
    with pytest.raises(ValueError):
        Parts.cut(b"bodybuffer", extent)
