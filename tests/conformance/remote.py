"""An executor that has only workers of a peer, for the stdlib's tests: WOOLEXEC_CONFORMANCE_EXECUTOR names it."""

import json
import os
import subprocess
import sys
import threading

import woolexec
from woolexec import Credentials
from woolexec.cpus import usable_cpus

CREDENTIALS = Credentials.with_new_token()
SERVE = ["-m", "woolexec", "serve", "--bind", "127.0.0.1:0", "--json", "--lifeline", "--token-file", "-"]


class RemotePool(woolexec.PeerPoolExecutor):
    """Starts a peer with as many workers as are wanted, and uses nothing else; the peer's stdin holds it."""

    def __init__(self, max_workers=None, mp_context=None, initializer=None, initargs=(), **options):
        check = woolexec.PeerPoolExecutor(max_workers, mp_context, initializer, initargs, **options)  # its errors
        check.shutdown()
        workers = max_workers or usable_cpus()
        command = [sys.executable, *SERVE, "--workers", str(workers)]
        env = {name: value for name, value in os.environ.items() if not name.startswith("WOOLEXEC_")}
        env["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))  # a peer finds what its own interpreter finds
        self._peer = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        self._peer.stdin.write(CREDENTIALS.token + b"\n")
        self._peer.stdin.flush()
        address = json.loads(self._peer.stdout.readline())["address"]
        self._copying = threading.Thread(target=copy, args=(self._peer.stdout,), daemon=True)
        self._copying.start()
        super().__init__(0, mp_context, initializer, initargs, peers=address, credentials=CREDENTIALS, **options)
        self._max_workers = workers
        self.wait_for_peers(1, 20)

    def shutdown(self, wait=True, *, cancel_futures=False):
        super().shutdown(wait, cancel_futures=cancel_futures)
        if wait and not self._peer.stdin.closed:
            self._peer.stdin.close()
            self._peer.wait()
            self._copying.join()


def copy(pipe):
    """What tasks print is to be seen here."""
    with pipe:
        for line in pipe:
            sys.stdout.write(line.decode())
            sys.stdout.flush()
