import pytest

from woolexec.platform.cgroup import cgroup_quota


@pytest.fixture
def system(tmp_path):
    """A cgroup file system, and which group we are in."""

    class System:
        membership = tmp_path / "membership"

        def write(self, name, text):
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def quota(self, membership="0::/\n"):
            self.membership.write_text(membership)
            return cgroup_quota(str(tmp_path / "cgroup"), str(self.membership))

    return System()


def test_no_cgroup_is_no_limit(system):
    assert system.quota() is None
    assert cgroup_quota("/nonexistent", "/nonexistent") is None


def test_version_2_quota_of_our_group(system):
    system.write("app/cpu.max", "150000 100000\n")

    assert system.quota("0::/app\n") == 1.5


def test_version_2_without_a_limit(system):
    system.write("app/cpu.max", "max 100000\n")

    assert system.quota("0::/app\n") is None


def test_smallest_quota_on_the_way_up_counts(system):
    system.write("a/cpu.max", "200000 100000\n")
    system.write("a/b/cpu.max", "max 100000\n")
    system.write("a/b/c/cpu.max", "300000 100000\n")

    assert system.quota("0::/a/b/c\n") == 2.0


def test_inside_a_container_our_group_is_the_root(system):
    system.write("cpu.max", "50000 100000\n")

    assert system.quota("0::/docker/outside/path\n") == 0.5


def test_version_1_quota(system):
    system.write("cpu/app/cpu.cfs_quota_us", "250000\n")
    system.write("cpu/app/cpu.cfs_period_us", "100000\n")

    assert system.quota("4:cpu,cpuacct:/app\n2:memory:/elsewhere\n") == 2.5


def test_version_1_without_a_limit(system):
    system.write("cpu/app/cpu.cfs_quota_us", "-1\n")
    system.write("cpu/app/cpu.cfs_period_us", "100000\n")

    assert system.quota("4:cpu:/app\n") is None


@pytest.mark.parametrize("text", ["", "rubbish", "1 0", "1 2 3"])
def test_file_that_cannot_be_understood_is_no_limit(system, text):
    system.write("cpu.max", text)

    assert system.quota() is None
