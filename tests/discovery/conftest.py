"""A peer to be found."""

from tests.mesh.conftest import peer as peer
