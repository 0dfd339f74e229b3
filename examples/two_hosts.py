"""
Run tasks on this machine and on another one.

On the other host, which needs the same minor version of Python, woolexec, and the packages that your tasks import:

    pip install woolexec

Then here, if you can log in there with ssh; it starts a peer with 8 workers for this program:

    python two_hosts.py ssh://me@other-host/8

Or with a peer that runs all the time.  It needs certificates: see docs/security.md.

    woolexec serve --bind 0.0.0.0:7437 --tls-ca ca.pem --tls-cert peer.pem --tls-key peer.key     # there
    export WOOLEXEC_TLS_CA=ca.pem WOOLEXEC_TLS_CERT=client.pem WOOLEXEC_TLS_KEY=client.key        # here
    python two_hosts.py other-host:7437

To try it on one machine, start `woolexec serve` in another terminal and take 127.0.0.1:7437.
"""

import os
import sys
import time
from collections import Counter

from woolexec import NoPeersError, PeerPoolExecutor


def work(n: int) -> tuple[str, int]:
    """Return where this ran, and a result."""
    time.sleep(0.01)  # your computation
    return f"{os.uname().nodename}, process {os.getpid()}", n * n


def main(peers: list[str]) -> None:
    # Two workers here, and those of the peers.  Functions of this file are sent to them; a module of your own that is
    # not installed there is sent too if you name it: ship=["mypackage"].
    with PeerPoolExecutor(2, peers=peers, peers_timeout=30) as pool:
        try:
            pool.wait_for_peers(len(peers), timeout=30)
        except TimeoutError as exc:
            print(f"going on with fewer: {exc}", file=sys.stderr)
        results = list(pool.map(work, range(100), chunksize=1))
    for where, count in sorted(Counter(where for where, _ in results).items()):
        print(f"{count:4} tasks on {where}")
    print("sum:", sum(square for _, square in results))


if len(sys.argv) < 2:
    sys.exit(__doc__)
try:
    main(sys.argv[1:])
except NoPeersError as exc:  # the message says what was tried, and why no peer could be used
    sys.exit(str(exc))
