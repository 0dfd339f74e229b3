"""Fixtures for the tests of integrations with other libraries."""

import pytest

from woolexec import Credentials

from . import joblib_tasks


@pytest.fixture(scope="session")
def credentials():
    return Credentials.with_new_token()


@pytest.fixture(scope="module")
def registered():
    """Register the backend with joblib for a module; afterwards shut down the pool that it keeps."""
    joblib = pytest.importorskip("joblib")
    from woolexec.integrations import joblib_backend

    joblib_backend.register()
    yield
    joblib.parallel.BACKENDS.pop("woolexec")
    if joblib_backend._latest is not None:
        joblib_backend._latest[1].shutdown()
        joblib_backend._latest = None


@pytest.fixture
def two(registered):
    """Configure joblib with two workers, which are started and kept."""
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("woolexec", n_jobs=2):
        Parallel()(delayed(joblib_tasks.pid)() for _ in range(20))
        yield
