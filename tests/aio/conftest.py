import sys

import anyio
import pytest


@pytest.fixture(params=["asyncio", "trio"])
def run(request):
    """Run an asynchronous test body on each event loop."""
    yield lambda body, *args: anyio.run(body, *args, backend=request.param)
    # The loop's waker would keep its descriptors open until the next test makes another.
    aio = sys.modules.get("woolexec.aio")
    if aio is not None:
        aio._here.__dict__.clear()
