"""The guards that stand around every test, each seen to act in a pytest of its own."""

import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from tests.selection import FIRST, LATER, ONCE

ROOT = Path(__file__).parents[1]


def run_pytest(folder: Path, source: str, *arguments: str, grace: float = 0.5) -> subprocess.CompletedProcess[str]:
    (folder / "conftest.py").write_text(
        f"import tests.conftest, tests.leaks\ntests.conftest.GRACE = {grace}\ntests.leaks.SETTLE = 0.3\n"
    )
    (folder / "pytest.ini").write_text("[pytest]\nmarkers =\n  slow: .\n  matrix: .\n  linux: .\n  leaks: .\n")
    (folder / "test_inner.py").write_text(source)
    return subprocess.run(
        [
            sys.executable,
            "-m",
            "pytest",
            "-p",
            "tests.conftest",
            "-p",
            "no:cacheprovider",
            "-rs",
            *arguments,
            str(folder),
        ],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.slow
def test_a_test_over_its_time_fails_with_the_stacks_of_other_threads(tmp_path):
    ran = run_pytest(
        tmp_path,
        "import threading\n"
        "def where_it_hangs(): threading.Event().wait()\n"
        "def test_hangs():\n"
        "    threading.Thread(target=where_it_hangs, daemon=True).start()\n"
        "    threading.Event().wait()\n",
        "--timeout=1",
        grace=30,
    )
    assert ran.returncode == 1
    assert re.search(r"Timeout \(?>1\.0s", ran.stdout)
    assert "where_it_hangs" in ran.stdout + ran.stderr


@pytest.mark.slow
def test_a_test_that_swallows_its_time_limit_ends_the_run_with_all_stacks(tmp_path):
    ran = run_pytest(
        tmp_path,
        "import time\n"
        "def test_hangs():\n"
        "    while True:\n"
        "        try: time.sleep(60)\n"
        "        except BaseException: pass\n",
        "--timeout=1",
    )
    assert ran.returncode == 1
    assert "Timeout (0:00:01.5" in ran.stderr
    assert "in test_hangs" in ran.stderr


@pytest.mark.slow
def test_time_that_is_up_while_a_failure_is_written_down_does_not_end_the_run(tmp_path):
    ran = run_pytest(
        tmp_path,
        "import pytest, time\n"
        "@pytest.mark.timeout(3)\n"
        "def test_fails():\n"
        "    __tracebackhide__ = lambda _: time.sleep(3.2)\n"
        "    assert False\n"
        "def test_goes_on(): pass\n",
        grace=30,
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout


def test_run_of_trio_that_was_broken_off_fails_no_other_test(tmp_path):
    ran = run_pytest(
        tmp_path,
        "import pytest, trio, trio._core._run as run\n"
        "async def passes(): pass\n"
        "def test_fails(monkeypatch):\n"
        "    monkeypatch.setattr(run, 'unrolled_run', lambda *_, **__: pytest.fail('time is up'))\n"
        "    trio.run(passes)\n"
        "def test_goes_on(): trio.run(passes)\n",
    )
    assert "1 failed, 1 passed" in ran.stdout, ran.stdout


@pytest.mark.slow
def test_a_test_that_leaves_a_thread_fails(tmp_path):
    leaky = "import threading\ndef test_leaks(): threading.Timer(1.5, int).start()\n"
    ran = run_pytest(tmp_path, leaky)
    assert ran.returncode == 1
    assert "the test left behind:\n  thread 'Thread-1'" in ran.stdout.replace("E   ", "")


@pytest.mark.parametrize("fixtures", ["tests.faults.conftest import pool", "tests.mesh.conftest import peer, pool"])
def test_pool_of_a_failed_test_does_not_wait_for_tasks_that_the_test_holds(tmp_path, fixtures):
    ran = run_pytest(
        tmp_path,
        f"""import time
from {fixtures}
def test_fails(pool):
    for _ in range(5):
        pool.submit(time.sleep, 1000)
    assert False, "as it should"
""",
        "--timeout=30",
    )
    assert "1 failed" in ran.stdout, ran.stderr
    assert "as it should" in ran.stdout


def test_pool_that_tests_share_outlives_the_failure_of_one(tmp_path):
    ran = run_pytest(
        tmp_path,
        """import pytest
from tests.shared_pools import shared
from woolexec import PeerPoolExecutor
pytestmark = pytest.mark.usefixtures("shared_pools")
@pytest.fixture
def pool():
    with shared(2) as pool:
        yield pool
@pytest.fixture(scope="module")
def made():
    with PeerPoolExecutor(1) as pool:
        yield pool
@pytest.fixture
def lent(made):
    return made
def test_fails(pool, lent): assert False
def test_goes_on(pool, lent):
    assert pool.submit(abs, -1).result() == lent.submit(abs, -1).result() == 1
""",
    )
    assert "1 failed, 1 passed" in ran.stdout


def test_a_leak_with_a_reason_passes_and_one_without_does_not(tmp_path):
    leaky = "import os, pytest\n@pytest.mark.leaks({})\ndef test_leaks(): os.open(os.devnull, os.O_RDONLY)\n"
    assert run_pytest(tmp_path, leaky.format("reason='to see'")).returncode == 0
    assert "needs a reason" in run_pytest(tmp_path, leaky.format("")).stdout


@pytest.mark.parametrize(
    ("arguments", "outcome"),
    [((), "1 passed, 1 deselected"), (("--slow",), "2 passed"), (("-m", "slow"), "1 passed, 1 deselected")],
)
def test_slow_tests_run_when_asked_for(tmp_path, arguments, outcome):
    source = "import pytest\n@pytest.mark.slow\ndef test_soak(): pass\ndef test_other(): pass\n"
    ran = run_pytest(tmp_path, source, *arguments)
    assert outcome in ran.stdout
    assert ("make test-slow runs them" in ran.stdout) == (not arguments)


@pytest.mark.slow
def test_number_of_slow_tests_that_are_left_out_is_said_by_a_run_in_several_processes_too(tmp_path):
    source = "import pytest\n@pytest.mark.slow\ndef test_soak(): pass\ndef test_other(): pass\n"
    ran = run_pytest(tmp_path, source, "-n", "2")
    assert "slow tests that are left out: 1; make test-slow runs them" in ran.stdout


@pytest.mark.slow
def test_process_of_a_run_waits_for_the_others_as_long_as_they_take(tmp_path):
    source = "import time, tests.conftest\ntests.conftest.AT_EXIT = 0.2\n"
    source += "def test_short(): pass\ndef test_long(): time.sleep(2)\n"
    ran = run_pytest(tmp_path, source, "-n", "2")
    assert "2 passed" in ran.stdout
    assert "Timeout" not in ran.stdout + ran.stderr


@pytest.mark.parametrize(("arguments", "outcome"), [((), "4 passed, 6 deselected"), (("--slow",), "10 passed")])
def test_few_combinations_of_a_matrix_are_tried_unless_all_are_asked_for(tmp_path, arguments, outcome):
    source = """import pytest
@pytest.mark.matrix
@pytest.mark.parametrize("one", range(3))
@pytest.mark.parametrize("other", range(3))
def test_both(one, other): pass
@pytest.mark.matrix
def test_alone(): pass
"""
    assert outcome in run_pytest(tmp_path, source, *arguments).stdout


@pytest.mark.parametrize("names", [FIRST, LATER, ONCE], ids=["first", "later", "once"])
def test_files_with_a_place_of_their_own_exist(names):
    assert [name for name in names if not (ROOT / name).exists()] == []


def test_tests_run_with_the_usual_number_of_descriptors(tmp_path):
    done = run_pytest(
        tmp_path, "import resource\ndef test_it():\n    assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= 1024\n"
    )
    assert "1 passed" in done.stdout


def test_children_hear_ctrl_c_though_the_tests_were_started_in_the_background(tmp_path):
    source = (
        "import subprocess, sys\ndef test_it():\n    code = 'import signal; print(signal.getsignal(signal.SIGINT))'\n"
    )
    source += "    assert 'default_int_handler' in subprocess.check_output([sys.executable, '-c', code], text=True)\n"
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        done = run_pytest(tmp_path, source)
    finally:
        signal.signal(signal.SIGINT, before)
    assert "1 passed" in done.stdout
