"""For tests of programs that use peers: a peer in this process."""

from woolexec.mesh.server.peer import Peer as Peer
