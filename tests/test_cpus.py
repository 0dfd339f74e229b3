import os

from woolexec import cpus
from woolexec.cpus import usable_cpus


def test_quota_and_affinity_both_count(monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(8)), raising=False)
    for quota, count in ((None, 8), (0.2, 1), (1.5, 2), (3.0, 3), (20.0, 8)):
        monkeypatch.setattr(cpus, "cgroup_quota", lambda quota=quota: quota)
        assert usable_cpus() == count


def test_without_affinity_all_processors_count(monkeypatch):
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    monkeypatch.setattr(os, "cpu_count", lambda: 5)
    monkeypatch.setattr(cpus, "cgroup_quota", lambda: None)

    assert usable_cpus() == 5


def test_this_machine_has_at_least_one():
    assert 1 <= usable_cpus() <= (os.cpu_count() or 1)
