"""A peer to be found."""

from tests.mesh.conftest import peer

__all__ = ["peer"]
