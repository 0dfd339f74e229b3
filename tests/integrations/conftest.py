"""What the tests of doors to other libraries share."""

import pytest

from woolexec import Credentials

from . import joblib_tasks


@pytest.fixture(scope="session")
def credentials():
    return Credentials.with_new_token()


@pytest.fixture(scope="module")
def registered():
    """Have joblib know the backend, for a module; end the pool that it keeps afterwards."""
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
    """Two workers, which have been started, and are kept."""
    from joblib import Parallel, delayed, parallel_config

    with parallel_config("woolexec", n_jobs=2):
        Parallel()(delayed(joblib_tasks.pid)() for _ in range(20))
        yield
