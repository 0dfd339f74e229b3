"""What runs beside the peers of compose.yaml: counts primes on them, and says on how many."""

import sys

from woolexec import PeerPoolExecutor


def primes(start):
    """Return how many primes there are among the 2,000 numbers from `start` on."""
    numbers = range(start, start + 2_000)
    return sum(all(number % divisor for divisor in range(2, int(number**0.5) + 1)) for number in numbers)


if __name__ == "__main__":
    with PeerPoolExecutor(peers=sys.argv[1]) as pool:
        count = pool.wait_for_peers(2, timeout=60)
        counts = list(pool.map(primes, range(2, 100_000, 2_000)))
        print(f"{sum(counts)} primes, counted by {count} peers")
