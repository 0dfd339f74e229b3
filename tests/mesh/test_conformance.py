"""CPython's own tests of concurrent.futures, against an executor that has only workers of a peer."""

import os
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.conformance.differences import DIFFERENCES
from tests.conformance.stdlib_suite import SuiteMissingError, import_suite

ROOT = Path(__file__).parents[2]

DIFFERENT = {
    # What tasks print appears at the peer.
    "ProcessPoolShutdownTest.test_interpreter_shutdown",
    "ProcessPoolShutdownTest.test_hang_gh83386",
    # Hand a proxy of a multiprocessing manager over, whose key only children of its process have.
    "ProcessPoolExecutorTest.test_force_shutdown_workers",
    "ProcessPoolExecutorTest.test_ressources_gced_in_workers",
    "WaitTests.test_first_completed",
    "WaitTests.test_first_completed_some_already_completed",
    "WaitTests.test_first_exception",
    "WaitTests.test_first_exception_one_already_failed",
    "WaitTests.test_first_exception_some_already_complete",
    "WaitTests.test_timeout",
    # Look at `_processes`, which are the workers here.
    "ProcessPoolExecutorTest.test_force_shutdown_workers_stops_pool",
    "ProcessPoolExecutorTest.test_idle_process_reuse_one",
    "ProcessPoolExecutorTest.test_max_tasks_per_child",
    # Is over before the link is made: nothing has started by then.
    "ProcessPoolShutdownTest.test_cancel_futures",
}


def failed(report):
    for case in ET.parse(report).iter("testcase"):
        if case.find("failure") is not None or case.find("error") is not None:
            yield f"{case.get('classname').rpartition('.')[2]}.{case.get('name')}"


@pytest.mark.slow
@pytest.mark.versions
@pytest.mark.timeout(400)
def test_executor_with_remote_workers_alone_passes_what_one_with_local_workers_passes(tmp_path):
    try:
        import_suite()
    except SuiteMissingError as exc:
        pytest.skip(str(exc))
    report = tmp_path / "report.xml"
    names = {"WOOLEXEC_CONFORMANCE_EXECUTOR": "tests.conformance.remote:RemotePool"}
    command = [sys.executable, "-m", "pytest", "tests/conformance/test_stdlib.py", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, "-n", "2", "-q", "--tb=short", f"--junitxml={report}"],
        cwd=ROOT,
        env={**os.environ, **names},
        capture_output=True,
        text=True,
        timeout=380,
        check=False,
    )
    known = {row.test for row in DIFFERENCES if row.applies()} | DIFFERENT
    assert set(failed(report)) <= known, ran.stdout
    assert len(list(ET.parse(report).iter("testcase"))) > 70
