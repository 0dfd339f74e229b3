"""The joblib backend: joblib's own tests, with the backend "woolexec"."""

import importlib.util
import os
import subprocess
import sys

import pytest

joblib = pytest.importorskip("joblib")


def test_backend_is_registered_by_name_and_as_the_default(monkeypatch):
    import woolexec.joblib

    monkeypatch.setattr(joblib.parallel, "BACKENDS", dict(joblib.parallel.BACKENDS))
    monkeypatch.setattr(joblib.parallel, "DEFAULT_BACKEND", "loky")
    woolexec.joblib.register()
    assert "woolexec" in joblib.parallel.BACKENDS
    assert joblib.parallel.DEFAULT_BACKEND == "loky"
    woolexec.joblib.register(make_default=True)
    assert joblib.parallel.DEFAULT_BACKEND == "woolexec"


@pytest.mark.slow
@pytest.mark.timeout(300)
def test_tests_of_joblib_pass(tmp_path):
    """Those of its test suite that take a backend, with this one: see `joblib_suite`."""
    if (
        importlib.util.find_spec("joblib.test.test_parallel") is None
    ):  # not imported: it has marks that ours do not know
        pytest.skip("joblib came without its tests")
    (tmp_path / "pytest.ini").write_text("[pytest]\n")  # not ours, which is stricter
    command = [
        "-m",
        "pytest",
        "-q",
        "-c",
        "pytest.ini",
        "-p",
        "no:cacheprovider",
        "-p",
        "tests.integrations.joblib_suite",
    ]
    ran = subprocess.run(
        [sys.executable, *command, "-W", "default", "--pyargs", "joblib.test.test_parallel", "-k", "woolexec"],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-8000:] + ran.stderr[-2000:]
