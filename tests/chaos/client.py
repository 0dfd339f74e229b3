"""Another client of the peers, which works until it is killed: ``python -m tests.chaos.client ADDRESS...``."""

from __future__ import annotations

import sys
import time
from concurrent.futures import wait

from woolexec import PeerPoolExecutor

AT_ONCE, PAUSE = 10, 0.3


def main(addresses: list[str]) -> None:
    """Keep peers busy, with calls of some time and some size."""
    with PeerPoolExecutor(peers=addresses) as pool:
        while True:
            futures = [pool.submit(len, bytes(200_000)) for _ in range(AT_ONCE // 2)]
            futures += [pool.submit(time.sleep, 0.02) for _ in range(AT_ONCE // 2)]
            wait(futures)
            time.sleep(PAUSE)


if __name__ == "__main__":
    main(sys.argv[1:])
