"""`woolexec.metrics` as a user uses it: a registry that is scraped, compared with `statistics`."""

import gc
import os
import platform
import signal
import subprocess
import sys
import threading
import weakref

import pytest

pytest.importorskip("prometheus_client")

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from tests.shared_pools import shared
from woolexec import PeerPoolExecutor, __version__
from woolexec.metrics import register, register_with_opentelemetry
from woolexec.observe.metric_table import TABLE

PATIENCE = 20.0


def scraped(registry):
    """Each sample of a registry, by name and labels."""
    text = generate_latest(registry).decode()
    return {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def fail():
    raise ValueError


@pytest.fixture
def pool(shared_pools):
    return shared(2).__enter__()


@pytest.fixture
def registry():
    return CollectorRegistry()


def test_what_is_scraped_is_what_statistics_says(pool, registry):
    register(pool, registry)
    list(pool.map(pow, range(1000), range(1000)))
    for number in range(400):
        pool.submit(abs, number).result(PATIENCE)
    assert isinstance(pool.submit(fail).exception(PATIENCE), ValueError)
    value = pool.put(bytes(5000))
    found, samples = pool.statistics(), scraped(registry)
    for outcome in ("returned", "failed", "lost", "cancelled"):
        assert samples["woolexec_tasks_finished_total", outcome] == getattr(found.tasks, outcome)
    for state in ("held", "queued", "sent", "running"):
        assert samples["woolexec_tasks_outstanding", state] == 0
    assert samples["woolexec_task_seconds_count",] == sum(each.count for each in found.functions)
    assert samples["woolexec_task_seconds_bucket", "+Inf"] == samples["woolexec_task_seconds_count",]
    assert samples["woolexec_task_seconds_sum",] == pytest.approx(sum(each.run.total for each in found.functions))
    waits = sum(count for each in found.functions for _, count in each.wait.bins)
    assert samples["woolexec_task_wait_seconds_count",] == waits
    assert samples["woolexec_workers", "idle"] == len([each for each in found.workers if each.state == "idle"])
    assert samples["woolexec_worker_memory_bytes",] > 1 << 20
    assert samples["woolexec_values_bytes",] == found.values.bytes > 5000
    assert samples["woolexec_build_info", platform.python_version(), __version__] == 1
    del value


def test_each_metric_of_the_table_is_scraped_and_nothing_else(pool, registry):
    register(pool, registry)
    families = text_string_to_metric_families(generate_latest(registry).decode())
    kinds = {family.name: family.type for family in families}
    assert kinds == {each.name: each.kind for each in TABLE} | {"woolexec_build_info": "gauge"}


def test_buckets_grow_with_their_bounds(pool, registry):
    register(pool, registry)
    pool.submit(abs, 1).result(PATIENCE)
    counts = [value for name, value in scraped(registry).items() if name[0] == "woolexec_task_seconds_bucket"]
    assert len(counts) > 10
    assert counts == sorted(counts)
    assert counts[-1] >= 1


def test_registering_a_pool_or_a_view_of_it_again_does_not_count_it_twice(pool, registry):
    register(pool, registry)
    pool.submit(abs, 1).result(PATIENCE)
    once = scraped(registry)["woolexec_tasks_finished_total", "returned"]
    register(pool, registry)
    register(pool.with_options(timeout=60), registry)
    assert scraped(registry)["woolexec_tasks_finished_total", "returned"] == once


class Forks(CollectorRegistry):
    """Forks while a pool is registered, and so while somebody has the lock."""

    child = -1

    def register(self, collector):
        super().register(collector)
        if self.child < 0:
            self.child = os.fork()
            if not self.child:
                signal.alarm(10)  # instead of waiting without end
                register(self.pool, CollectorRegistry())
                os._exit(0)


def test_a_child_that_was_forked_while_a_pool_was_registered_can_register_one(pool):
    registry = Forks()
    registry.pool = pool
    register(pool, registry)
    assert os.waitstatus_to_exitcode(os.waitpid(registry.child, 0)[1]) == 0


def test_several_pools_are_summed_and_one_that_ends_leaves_what_it_has_done(pool, registry):
    register(pool, registry)
    before = scraped(registry)["woolexec_tasks_finished_total", "returned"]
    with PeerPoolExecutor(1) as other:
        register(other, registry)
        other.submit(abs, 1).result(PATIENCE)
        assert sum(value for name, value in scraped(registry).items() if name[0] == "woolexec_workers") >= 1
        other.submit(abs, 2).result(PATIENCE)
    after = scraped(registry)
    assert after["woolexec_tasks_finished_total", "returned"] == before + 2
    here = [each for each in pool.statistics().workers if not each.lost]
    assert sum(value for name, value in after.items() if name[0] == "woolexec_workers") == len(here)


def test_a_pool_is_not_kept_alive_and_its_tasks_stay_counted(registry):
    pool = PeerPoolExecutor(1)
    register(pool, registry)
    pool.submit(abs, 1).result(PATIENCE)
    dropped, thread = weakref.ref(pool), pool._engine.thread
    del pool
    gc.collect()
    assert dropped() is None
    thread.join(PATIENCE)
    samples = scraped(registry)
    assert samples["woolexec_tasks_finished_total", "returned"] == 1
    assert samples["woolexec_workers", "idle"] == 0


def test_a_registry_may_be_scraped_by_many_at_once(pool, registry):
    register(pool, registry)
    found = []
    threads = [threading.Thread(target=lambda: found.append(scraped(registry))) for _ in range(20)]
    for each in threads:
        each.start()
    futures = [pool.submit(abs, number) for number in range(500)]
    for each in (*threads, *futures):
        each.join() if isinstance(each, threading.Thread) else each.result(PATIENCE)
    assert len(found) == 20


def test_names_that_the_registry_has_already_are_an_error(pool, registry):
    Counter("woolexec_refusals", "another one", registry=registry)
    with pytest.raises(ValueError, match="woolexec_refusals"):
        register(pool, registry)


@pytest.mark.parametrize("other", [None, 3, object()])
def test_what_is_no_pool_is_an_error(other, registry):
    with pytest.raises(TypeError, match=f"not {type(other).__name__}"):
        register(other, registry)


def test_prometheus_client_is_not_imported_until_it_is_asked_for():
    code = "import sys, woolexec; woolexec.PeerPoolExecutor; print('prometheus_client' in sys.modules)"
    assert subprocess.check_output([sys.executable, "-c", code], text=True) == "False\n"


@pytest.mark.parametrize(
    ("package", "function", "said"),
    [
        ("prometheus_client", register, "pip install 'woolexec[metrics]'"),
        ("opentelemetry.metrics", register_with_opentelemetry, "pip install opentelemetry-sdk"),
    ],
)
def test_without_its_package_the_error_says_what_to_install(monkeypatch, package, function, said):
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.delitem(sys.modules, "woolexec.observe.prometheus", raising=False)
    monkeypatch.delitem(sys.modules, "woolexec.observe.otel_metrics", raising=False)
    with pytest.raises(ImportError) as caught:
        function(None)
    assert said in str(caught.value)
