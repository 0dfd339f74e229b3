"""Outcomes above the limit of a peer are moved to its folder, least recently used first."""

import asyncio
import errno
import os

import pytest

from woolexec.mesh.server import stays as stays_module
from woolexec.mesh.server.stays import Stays
from woolexec.wire.payload import Parts, pack, spill, store
from woolexec.wire.values import Value

SIZE = 1000


@pytest.fixture
def stays(tmp_path):
    return Stays(2 * SIZE, str(tmp_path))


@pytest.fixture
def spilled():
    spilled = []
    yield spilled
    spilled.clear()


def add(stays, spilled, payload=b"x" * SIZE):
    value = Value(payload)
    stays.add(value, lambda: spilled.append(value))
    return value


def running(stays, until):
    """Let it spill until a condition is met."""

    async def main():
        task = asyncio.ensure_future(stays.run())
        while not until():  # noqa: ASYNC110  # a thread writes
            await asyncio.sleep(0.001)
        task.cancel()
        await asyncio.wait({task})

    asyncio.run(asyncio.wait_for(main(), 20))


def content(value):
    return b"".join(map(bytes, value.payload.load()))


def test_what_was_used_longest_ago_goes_to_the_folder(tmp_path, stays, spilled):
    values = [add(stays, spilled) for _ in range(2)]
    stays.use(values[0])
    values += [add(stays, spilled) for _ in range(2)]
    assert stays.size == 4 * SIZE
    running(stays, lambda: stays.size <= 2 * SIZE)
    assert spilled == [values[1], values[0]]
    assert [content(value) for value in spilled] == [b"x" * SIZE] * 2
    assert all(os.readlink(f"/proc/self/fd/{value.payload.fd}").startswith(str(tmp_path)) for value in spilled)
    assert os.listdir(tmp_path) == []  # nothing is left when the peer ends
    assert [value.payload for value in values[2:]] == [b"x" * SIZE] * 2


@pytest.mark.parametrize(
    "payload", [b"x" * SIZE, Parts([b"x" * 400, b"x" * 600]), store([b"x" * SIZE]), pack(b"xx", [b"x" * 998])]
)
def test_payload_of_any_kind_is_the_same_there(stays, spilled, payload):
    value = add(stays, spilled, payload)
    for _ in range(2):
        add(stays, spilled)
    running(stays, lambda: spilled)
    assert spilled == [value]
    assert content(value) == b"x" * SIZE
    assert value.size == SIZE


def test_value_that_is_dropped_is_counted_no_more(stays, spilled):
    values = [add(stays, spilled) for _ in range(3)]
    for value in values:
        stays.remove(value)
        stays.remove(value)
    assert stays.size == 0
    stays.use(values[0])
    assert not stays._values


def test_value_that_is_dropped_while_it_is_written_leaves_nothing(monkeypatch, stays, spilled):
    def drop_and_write(payload, folder):
        stays.remove(value)
        return spill(payload, folder)

    monkeypatch.setattr(stays_module, "spill", drop_and_write)
    value = add(stays, spilled)
    for _ in range(2):
        add(stays, spilled)
    before = len(os.listdir("/proc/self/fd"))
    running(stays, lambda: stays.size <= 2 * SIZE)
    assert spilled == []
    assert value.payload == b"x" * SIZE
    assert len(os.listdir("/proc/self/fd")) <= before


def test_without_a_folder_nothing_exceeds_the_limit():
    stays = Stays(SIZE)
    assert stays.may_add(SIZE)
    assert not stays.may_add(SIZE + 1)
    assert not stays.spills


@pytest.mark.parametrize("trouble", ["full", "read-only", "removed"])
def test_folder_that_fails_is_said_and_tried_again_later(monkeypatch, caplog, tmp_path, spilled, trouble):
    folder = tmp_path / "folder"
    folder.mkdir()
    stays = Stays(SIZE, str(folder))
    if trouble == "removed":
        folder.rmdir()
    else:
        number = errno.ENOSPC if trouble == "full" else errno.EROFS
        with monkeypatch.context() as patch:
            patch.setattr(stays_module, "spill", lambda *_, **__: (_ for _ in ()).throw(OSError(number, trouble)))
            values = [add(stays, spilled) for _ in range(2)]
            running(stays, lambda: not stays.spills)
    if trouble == "removed":
        values = [add(stays, spilled) for _ in range(2)]
        running(stays, lambda: not stays.spills)
    assert "cannot write values to" in caplog.text
    assert not stays.may_add(1)
    assert [value.payload for value in values] == [b"x" * SIZE] * 2  # they are still there
    folder.mkdir(exist_ok=True)
    stays._failed_until = 0.0
    assert stays.may_add(SIZE)
    values.append(add(stays, spilled))
    running(stays, lambda: stays.size <= SIZE)
    assert spilled == values[:2]
