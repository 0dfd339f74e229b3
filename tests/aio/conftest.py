import anyio
import pytest

from .shared_pools import started


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Run an asynchronous test body on each event loop."""
    return lambda body, *args: anyio.run(body, *args, backend=request.param)


@pytest.fixture(scope="module")
def shared_pools(tmp_path_factory):
    """Start the pools of `shared`."""
    with started(tmp_path_factory.mktemp("started")):
        yield
