"""Asynchronous test bodies, as in `tests/aio`."""

from tests.aio.conftest import run

__all__ = ["run"]
