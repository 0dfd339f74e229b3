"""
A FastAPI application that computes in a pool, so that its event loop stays free for other requests.

    pip install woolexec fastapi uvicorn
    uvicorn fastapi_app:app
    curl 'http://127.0.0.1:8000/primes?below=1000000'
    curl 'http://127.0.0.1:8000/primes/stream?below=100'
"""

from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import FastAPI, HTTPException, Query, Request
from fastapi.responses import StreamingResponse

from woolexec import PeerPoolExecutor

Below = Annotated[int, Query(ge=2, le=10_000_000)]


def primes(below: int) -> Iterator[int]:
    sieve = bytearray([1]) * below
    for n in range(2, below):
        if sieve[n]:
            yield n
            sieve[n * n :: n] = bytes(len(range(n * n, below, n)))


def count_primes(below: int) -> int:
    return sum(1 for _ in primes(below))


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    # One pool for the application, not one for each request.  Workers are started by the first requests.
    async with PeerPoolExecutor() as pool:
        # A request that takes longer is ended together with its worker, which is replaced.
        app.state.pool = pool.with_options(timeout=10)
        yield


app = FastAPI(lifespan=lifespan)


@app.get("/primes")
async def count(request: Request, below: Below) -> dict[str, int]:
    try:
        return {"below": below, "primes": await request.app.state.pool.run(count_primes, below)}
    except TimeoutError:
        raise HTTPException(503, "this takes too long") from None


@app.get("/primes/stream")
async def stream(request: Request, below: Below) -> StreamingResponse:
    async def lines() -> AsyncIterator[str]:
        # If the browser goes away, the block is left, and that closes the generator in the worker.
        async with request.app.state.pool.stream(primes, below, prefetch=100) as found:
            async for prime in found:
                yield f"{prime}\n"

    return StreamingResponse(lines(), media_type="text/plain")
