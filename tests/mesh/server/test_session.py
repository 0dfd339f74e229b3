import time

import pytest

from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from woolexec import WorkerLostError
from woolexec.mesh.server.peer import Peer
from woolexec.wire.frames import Stop, Wait, encode


@pytest.mark.parametrize("frame", [Wait(call=1), Stop()])
def test_client_is_told_which_frame_of_it_a_peer_does_not_accept(frame):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        outstanding = pool.submit(time.sleep, PATIENCE)
        eventually(outstanding.running)
        link = pool._peers.links[0]
        pool._engine._loop.tell(lambda: link.send(encode(frame)))

        with pytest.raises(WorkerLostError, match=f"a peer does not accept {type(frame).__name__} frames"):
            outstanding.result(PATIENCE)
