"""A peer in this process, for tests of programs that use peers."""

from woolexec.mesh.server.peer import Peer as Peer
