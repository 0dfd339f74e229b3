"""
Run tasks on hosts that have graphics cards, as many at once as there are cards.

Start a peer for each card; a process sees only the card that CUDA_VISIBLE_DEVICES names, and workers inherit it:

    CUDA_VISIBLE_DEVICES=0 woolexec serve --bind 127.0.0.1:7440 --workers 2 --resource gpu=1 --tag card=a100
    CUDA_VISIBLE_DEVICES=1 woolexec serve --bind 127.0.0.1:7441 --workers 2 --resource gpu=1 --tag card=a100

    python gpu_farm.py 127.0.0.1:7440 127.0.0.1:7441

Between hosts peers need certificates: see docs/security.md.  Instead of addresses, peers can be found by
`woolexec serve --announce dir:/shared/peers` and `python gpu_farm.py dir:/shared/peers`: see docs/discovery.md.
"""

import os
import sys
import time
from concurrent.futures import as_completed

from woolexec import PeerPoolExecutor, UnsatisfiableError


def prepare(document: str) -> list[str]:
    """Split a document into words: work for a processor."""
    return document.split()


def embed(words: list[str]) -> tuple[str, int]:
    """Return the card that this ran on, and a result: put your model here."""
    # Load a model once for each worker, not once for each task: in an `initializer`, or behind functools.cache.
    time.sleep(0.01)
    return os.environ.get("CUDA_VISIBLE_DEVICES", "none"), len(words)


def main(peers: list[str]) -> None:
    documents = [f"document {n} " + "word " * n for n in range(40)]
    with PeerPoolExecutor(peers=peers) as pool:
        # A task holds its card until it ends, so of these there is one at a time on each card.
        on_a_card = pool.with_options(require={"gpu": 1}, retries=2)
        # Tasks without `require` may use the other worker of a peer, while the card is busy.
        prepared = pool.map(prepare, documents)
        futures = [on_a_card.submit(embed, words) for words in prepared]
        try:
            results = [future.result() for future in as_completed(futures)]
        except UnsatisfiableError as exc:  # peers are there, and none of them has a card
            sys.exit(str(exc))
    print(f"{len(results)} documents, {sum(words for _, words in results)} words")
    print("cards used:", ", ".join(sorted({card for card, _ in results})))


if len(sys.argv) < 2:
    sys.exit(__doc__)
main(sys.argv[1:])
