import errno
import gc
import os

import pytest

from woolexec import errors
from woolexec.data.store import Store
from woolexec.platform import memory
from woolexec.wire import payload as payloads
from woolexec.wire.payload import LARGE, File, Parts, pack
from woolexec.wire.unpickling import loads


def test_bytes_are_counted_until_the_value_is_collected():
    store = Store(1000, None)
    value, other = store.add(bytes(600)), store.add(bytes(300))
    assert store.size == 900
    del value
    gc.collect()
    assert store.size == 300
    assert store.add(bytes(700)).payload == bytes(700)
    assert other.number


def test_value_beyond_the_limit_is_an_error_that_says_what_helps():
    store = Store(1000, None)
    value = store.add(bytes(600))
    with pytest.raises(errors.StoreFullError, match=r"500 bytes, in addition to 600 .*=1000; .*spill_dir") as caught:
        store.add(bytes(500))
    assert isinstance(caught.value, MemoryError)
    assert store.size == len(value.payload)


@pytest.mark.parametrize("buffers", [[], [b"x" * LARGE, b"y" * 5000]])
def test_value_beyond_the_limit_is_a_file_in_the_folder_if_there_is_one(tmp_path, buffers):
    store = Store(0, str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    payload = pack(b"body", buffers) if buffers else b"body"
    value = store.add(payload)
    assert store.size == 0
    assert os.listdir(tmp_path) == []  # it has no name: nothing is left when this process ends
    assert os.readlink(f"/proc/self/fd/{value.payload.fd}").startswith(str(tmp_path))
    assert [bytes(part) for part in value.payload.load()] == [b"body", *buffers]
    del value, payload
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def is_on_disk(value, folder):
    return isinstance(value.payload, File) and os.readlink(f"/proc/self/fd/{value.payload.fd}").startswith(str(folder))


def test_what_was_used_longest_ago_makes_room_for_others(tmp_path):
    spilled = []
    store = Store(1000, str(tmp_path), spilled.append)
    values = [store.add(bytes(400)) for _ in range(2)]
    values[0].use()
    values += [store.add(bytes(400)) for _ in range(2)]
    assert [is_on_disk(value, tmp_path) for value in values] == [True, True, False, False]
    assert spilled == [values[1].number, values[0].number]
    assert store.size == 800
    assert [bytes(part) for part in values[0].payload.load()] == [bytes(400)]


def test_value_beyond_the_limit_alone_leaves_others_in_memory(tmp_path):
    store = Store(1000, str(tmp_path))
    value, large = store.add(bytes(600)), store.add(bytes(1001))
    assert not is_on_disk(value, tmp_path)
    assert is_on_disk(large, tmp_path)
    assert store.size == 600


def test_value_that_cannot_be_written_stays_in_memory_and_is_counted(tmp_path):
    (tmp_path / "gone").mkdir()
    store = Store(1000, str(tmp_path / "gone"))
    values = [store.add(bytes(400)) for _ in range(2)]
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        store.add(bytes(400))
    gc.collect()
    assert store.size == 800
    (tmp_path / "gone").mkdir()
    values.append(store.add(bytes(400)))
    assert sum(is_on_disk(value, tmp_path) for value in values) == 1


def test_use_is_noted_without_waiting_for_a_thread_that_puts(tmp_path):
    store = Store(1000, str(tmp_path))
    value = store.add(bytes(400))
    with store._lock:
        value.use()


def test_folder_that_is_gone_is_an_error(tmp_path):
    (tmp_path / "gone").mkdir()
    store = Store(0, str(tmp_path / "gone"))
    (tmp_path / "gone").rmdir()
    with pytest.raises(FileNotFoundError):
        store.add(Parts([b"body", b"x"]))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EDQUOT])
def test_folder_that_is_full_or_read_only_is_an_error_and_the_next_value_is_not(monkeypatch, tmp_path, number):
    store = Store(0, str(tmp_path))
    before = len(os.listdir("/proc/self/fd"))
    with monkeypatch.context() as patch:
        patch.setattr(payloads, "write_whole", refuse(number))
        with pytest.raises(OSError) as caught:  # its number says which
            store.add(Parts([b"body", b"x"]))
        assert caught.value.errno == number
    assert len(os.listdir("/proc/self/fd")) == before
    assert os.listdir(tmp_path) == []
    assert store.add(Parts([b"body", b"x"])).size == 5


def refuse(number):
    def fail(*_):
        raise OSError(number, os.strerror(number))

    return fail


def test_limit_is_a_share_of_the_memory_of_this_process(monkeypatch):
    monkeypatch.setattr(memory, "usable_memory", lambda: 10_000)
    store = Store(None, None)
    value = store.add(bytes(3000))
    with pytest.raises(errors.StoreFullError):
        store.add(b"x")
    assert value.number


def test_spilled_value_is_unpickled_like_any_other(tmp_path):
    store = Store(0, str(tmp_path))
    import pickle

    assert loads(store.add(pickle.dumps([1, 2])).payload) == [1, 2]
