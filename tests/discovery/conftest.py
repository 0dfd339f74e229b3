"""The peer that the tests discover."""

from tests.mesh.conftest import peer

__all__ = ["peer"]
