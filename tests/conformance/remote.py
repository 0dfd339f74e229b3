"""An executor that has only workers of a peer, for the stdlib's tests: WOOLEXEC_CONFORMANCE_EXECUTOR names it."""

import threading

import woolexec
from woolexec import Credentials
from woolexec.cpus import usable_cpus
from woolexec.mesh.server import Peer

CREDENTIALS = Credentials(b"a token that only these tests have")


class RemotePool(woolexec.PeerPoolExecutor):
    """Starts a peer with as many workers as are wanted, and uses nothing else."""

    def __init__(self, max_workers=None, mp_context=None, initializer=None, initargs=(), **options):
        check = woolexec.PeerPoolExecutor(max_workers, mp_context, initializer, initargs, **options)  # its errors
        check.shutdown()
        self._peer = Peer(max_workers or usable_cpus(), credentials=CREDENTIALS)
        options |= {"peers": self._peer.address, "credentials": CREDENTIALS}
        super().__init__(0, mp_context, initializer, initargs, **options)
        self._max_workers = self._peer.width
        self.wait_for_peers(1, 20)

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait:
            self._peer.close()
        else:
            threading.Thread(target=self._end_with_me).start()

    def _end_with_me(self):
        self._engine.join()
        self._peer.close()
