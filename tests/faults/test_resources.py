"""Resources of the workers on this machine, with real workers."""

import asyncio
import time

import pytest

from woolexec import PeerPoolExecutor, UnsatisfiableError

from . import resources, tasks
from .tasks import SOON


@pytest.fixture(autouse=True)
def _no_devices(monkeypatch):
    for name in ("CUDA_VISIBLE_DEVICES", "HIP_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "NVIDIA_VISIBLE_DEVICES"):
        monkeypatch.delenv(name, raising=False)


def test_each_worker_sees_its_own_devices_from_before_its_first_import(monkeypatch, tmp_path):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,GPU-abc,9")
    with PeerPoolExecutor(3, resources={"gpu": 2}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        held = [on_gpu.submit(resources.hold_devices, tmp_path) for _ in range(2)]
        for number in range(2):
            tasks.wait_held(tmp_path, f"held{'4' if number == 0 else 'GPU-abc'}")
        assert pool.submit(resources.devices).result(SOON) == ("4,GPU-abc,9", "4,GPU-abc,9")
        tasks.release(tmp_path)
        assert sorted(future.result(SOON) for future in held) == [("4", "4"), ("GPU-abc", "GPU-abc")]


def test_worker_keeps_its_devices_and_serves_the_next_calls():
    with PeerPoolExecutor(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        found = {on_gpu.submit(resources.devices_and_process).result(SOON) for _ in range(5)}
        assert len(found) == 1
        assert next(iter(found))[0] == "0"


def test_parts_of_a_device_are_shared_by_workers(tmp_path):
    with PeerPoolExecutor(2, resources={"gpu": 1}) as pool:
        half = pool.with_options(require={"gpu": 0.5})
        found = [half.submit(tasks.meet, tmp_path, 2) for _ in range(2)]
        assert len({future.result(SOON) for future in found}) == 2
        assert half.submit(resources.devices).result(SOON)[0] == "0"


def test_as_many_calls_run_at_once_as_there_is_of_a_resource(tmp_path):
    with PeerPoolExecutor(4, resources={"db": 2}) as pool:
        with_db = pool.with_options(require={"db": 1})
        most = [with_db.submit(resources.count_at_once, str(tmp_path / "journal")) for _ in range(12)]
        assert max(future.result(SOON) for future in most) <= 2
        assert list(with_db.map(abs, range(50))) == list(range(50))


def test_coroutines_wait_for_resources_too(tmp_path):
    async def main():
        async with PeerPoolExecutor(2, resources={"db": 1, "gpu": 1}) as pool:
            view = pool.with_options(require={"db": 1})
            assert await asyncio.gather(*[view.run(resources.soon, number) for number in range(6)]) == list(range(6))
            view = pool.with_options(require={"gpu": 1})
            assert await asyncio.gather(*[view.run(resources.devices_soon) for _ in range(3)]) == ["0"] * 3

    asyncio.run(main())


def test_plain_calls_and_those_with_devices_make_way_for_each_other():
    with PeerPoolExecutor(1, resources={"gpu": 1}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        for _ in range(3):
            assert on_gpu.submit(resources.devices).result(SOON)[0] == "0"
            assert pool.submit(resources.devices).result(SOON)[0] is None


def test_call_with_a_device_does_not_wait_for_all_plain_calls_that_are_queued():
    with PeerPoolExecutor(1, resources={"gpu": 1}) as pool:
        plain = [pool.submit(time.sleep, 0.01) for _ in range(3000)]
        on_gpu = pool.with_options(require={"gpu": 1}).submit(resources.devices)
        assert on_gpu.result(SOON)[0] == "0"
        assert not plain[-1].done()
        for future in plain:
            future.cancel()


def test_device_of_a_worker_that_dies_is_used_again():
    with PeerPoolExecutor(1, resources={"gpu": 1}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        assert on_gpu.submit(tasks.die).exception(SOON) is not None
        assert on_gpu.submit(resources.devices).result(SOON)[0] == "0"


def test_actor_holds_its_device_while_it_lives():
    with PeerPoolExecutor(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        with on_gpu.actor(resources.Seer) as actor:
            assert actor.submit(resources.Seer.devices).result(SOON) == "0"
            waiting = on_gpu.submit(resources.devices)
            assert actor.submit(resources.Seer.devices).result(SOON) == "0"
            assert not waiting.done()
        assert waiting.result(SOON)[0] == "0"


def test_actor_gets_the_device_of_a_worker_that_has_nothing_to_do():
    with PeerPoolExecutor(2, resources={"gpu": 1}) as pool:
        on_gpu = pool.with_options(require={"gpu": 1})
        assert on_gpu.submit(abs, -1).result(SOON) == 1
        with on_gpu.actor(resources.Seer) as actor:
            assert actor.submit(resources.Seer.devices).result(SOON) == "0"


@pytest.mark.parametrize("workers", [1, 2])
def test_tasks_of_tasks_require_resources_too(workers):
    with PeerPoolExecutor(workers, resources={"gpu": 1}) as pool:
        assert pool.submit(resources.ask_for_device).result(SOON) == "0"


def test_what_no_worker_has_is_an_error_that_says_what_there_is():
    with PeerPoolExecutor(1, resources={"gpu": 2, "db": 5}) as pool:
        error = pool.with_options(require={"gpu": 3}).submit(abs, -1).exception(SOON)
        assert isinstance(error, UnsatisfiableError)
        assert "here: db=5, gpu=2" in str(error)
