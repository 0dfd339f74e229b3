import anyio
import pytest


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Run an asynchronous test body on each event loop."""
    return lambda body, *args: anyio.run(body, *args, backend=request.param)
