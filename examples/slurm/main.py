"""
Estimate pi on all nodes of a Slurm job; job.sh starts the peers and then this.

    python main.py PEERS [--count N]
"""

import argparse
import random
import socket
from collections import Counter

from woolexec import PeerPoolExecutor


def throw(darts: int, seed: int) -> tuple[str, int]:
    """Return the node that this ran on, and how many darts hit."""
    chance = random.Random(seed)
    hits = sum(chance.random() ** 2 + chance.random() ** 2 < 1 for _ in range(darts))
    return socket.gethostname(), hits


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("peers", help="where peers are announced: dir:FOLDER")
    parser.add_argument("--count", type=int, default=1, help="number of peers to wait for")
    parser.add_argument("--darts", type=int, default=20_000, help="darts in each task")
    parser.add_argument("--tasks", type=int, default=200)
    arguments = parser.parse_args()

    # The peers are started at the same time as this: tasks would wait for the first one anyhow.  Waiting for all of
    # them makes a node that cannot start its peer an error, instead of a job that takes longer than it should.
    with PeerPoolExecutor(peers=arguments.peers) as pool:
        pool.wait_for_peers(arguments.count, timeout=120)
        # A task whose node dies is started again on another one.
        safe = pool.with_options(idempotent=True)
        results = list(safe.map(throw, [arguments.darts] * arguments.tasks, range(arguments.tasks), ordered=False))
    print("tasks on each node:", dict(Counter(node for node, _ in results)))
    print("pi is about", 4 * sum(hits for _, hits in results) / (arguments.darts * arguments.tasks))


main()
