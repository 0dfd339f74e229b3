import mmap
import os
import subprocess
import sys

import pytest

from woolexec.platform.memory import memory, memory_of_group, proportional, reached_limit, resident, usable_memory

GIB = 1 << 30


@pytest.fixture
def system(tmp_path):
    """A cgroup file system, which group we are in, and the memory of the host."""

    class System:
        def write(self, name, text):
            path = tmp_path / "cgroup" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)

        def host(self, total, available):
            (tmp_path / "meminfo").write_text(f"MemTotal: {total >> 10} kB\nMemAvailable: {available >> 10} kB\n")

        def ask(self, what=memory, membership="0::/app\n"):
            (tmp_path / "membership").write_text(membership)
            return what(str(tmp_path / "cgroup"), str(tmp_path / "membership"), str(tmp_path / "meminfo"))

    return System()


def test_without_a_cgroup_the_memory_of_the_host_counts(system):
    system.host(4 * GIB, GIB)
    found = system.ask()
    assert (found.limit, found.used, found.near) == (4 * GIB, 3 * GIB, int(4 * GIB * 0.95))


def test_where_nothing_can_be_read_nothing_is_known(system):
    assert system.ask() is None
    assert system.ask(usable_memory) == 1 << 60


def test_version_2_limit_of_our_group_without_the_cache_of_files(system):
    system.host(64 * GIB, 64 * GIB)
    system.write("app/memory.max", f"{GIB}\n")
    system.write("app/memory.high", "max\n")
    system.write("app/memory.current", f"{GIB // 2}\n")
    system.write("app/memory.stat", "anon 7\ninactive_file 1000\nactive_file 200\n")
    found = system.ask()
    assert (found.limit, found.used, found.near) == (GIB, GIB // 2 - 1200, int(GIB * 0.9))


def test_group_is_throttled_above_its_high_limit_so_that_counts_too(system):
    system.write("app/memory.max", f"{4 * GIB}\n")
    system.write("app/memory.high", f"{GIB}\n")
    system.write("app/memory.current", f"{GIB}\n")
    assert system.ask().limit == GIB


def test_group_closest_to_its_limit_counts_not_the_smallest(system):
    for name, limit, used in (("a", 8 * GIB, 7 * GIB), ("a/b", GIB, GIB // 8)):
        system.write(f"{name}/memory.max", f"{limit}\n")
        system.write(f"{name}/memory.current", f"{used}\n")
    assert system.ask(membership="0::/a/b\n").limit == 8 * GIB
    assert system.ask(usable_memory, membership="0::/a/b\n") == GIB


def test_time_for_which_all_processes_of_a_group_wait_for_memory(system):
    system.write("app/memory.max", f"{GIB}\n")
    system.write("app/memory.current", f"{GIB // 2}\n")
    assert system.ask().stalled == 0.0
    pressure = "some avg10=1.00 avg60=0.10 avg300=0.00 total=9000000\nfull avg10=0.50 avg60=0.10 avg300=0.00 total="
    system.write("app/memory.pressure", pressure + "2500000\n")
    assert system.ask().stalled == 2.5
    system.write("app/memory.pressure", "rubbish")
    assert system.ask().stalled == 0.0


def test_version_1_limit(system):
    system.write("memory/app/memory.limit_in_bytes", f"{GIB}\n")
    system.write("memory/app/memory.usage_in_bytes", f"{GIB // 4}\n")
    system.write("memory/app/memory.stat", "total_inactive_file 24\n")
    found = system.ask(membership="4:memory:/app\n2:cpu:/elsewhere\n")
    assert (found.limit, found.used) == (GIB, GIB // 4 - 24)


@pytest.mark.parametrize("text", ["max", "", "rubbish", str(0x7FFFFFFFFFFFF000)])
def test_what_is_no_limit_does_not_count(system, text):
    system.host(4 * GIB, GIB)
    system.write("app/memory.max", text)
    system.write("memory/app/memory.limit_in_bytes", text)
    for name in ("app/memory.current", "memory/app/memory.usage_in_bytes"):
        system.write(name, "5")
    found = system.ask(membership="0::/app\n4:memory:/app\n")
    assert found.limit == 4 * GIB


def test_host_is_no_group(system):
    system.host(4 * GIB, GIB)
    assert system.ask(lambda root, membership, _: memory_of_group(root, membership)) is None


def test_times_at_the_limit_are_counted(system):
    def ask(membership):
        return system.ask(lambda root, where, _: reached_limit(root, where), membership)

    assert ask("0::/app\n") == 0
    system.write("app/memory.events", "low 0\nhigh 2\nmax 3\noom 7\noom_kill 7\n")
    assert ask("0::/app\n") == 5
    system.write("memory/app/memory.failcnt", "11\n")
    assert ask("4:memory:/app\n") == 11


# -- other processes -------------------------------------------------------------------------------------------------

linux = pytest.mark.skipif(sys.platform != "linux", reason="there is no /proc")


@linux
def test_memory_of_a_process_grows_with_it():
    script = "data = bytearray(64 << 20); data[::4096] = bytes(16384); print(flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        total, shared = resident(child.pid)
        exact = proportional(child.pid)
        child.communicate(b"\n")
    assert 64 << 20 < total < 1 << 28
    assert total - shared <= exact <= total
    assert resident(child.pid) is None
    assert proportional(child.pid) is None


@linux
def test_what_is_shared_counts_in_part():
    size = 64 << 20
    with mmap.mmap(-1, size) as shared:
        shared[::4096] = bytes(size // 4096)
        alone = proportional(os.getpid())
        (said, say), (heard, tell) = os.pipe(), os.pipe()
        child = os.fork()
        if child == 0:
            for page in range(0, size, 4096):
                shared[page]  # it is read
            os.write(say, b"x")
            os.read(heard, 1)
            os._exit(0)
        os.read(said, 1)
        both = proportional(os.getpid())
        os.write(tell, b"x")
        os.waitpid(child, 0)
        for fd in (said, say, heard, tell):
            os.close(fd)
    assert alone - both > size // 4


def test_memory_of_processes_is_not_known_without_proc(tmp_path):
    assert resident(os.getpid(), str(tmp_path)) is None
    assert proportional(os.getpid(), str(tmp_path)) is None
