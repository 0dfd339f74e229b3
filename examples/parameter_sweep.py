"""
Try every combination of some parameters, show the progress, and write the results into a CSV file.

    python parameter_sweep.py [sweep.csv]
"""

import csv
import itertools
import random
import sys
from concurrent.futures import as_completed

from woolexec import PeerPoolExecutor

GRID = {
    "rate": [0.01, 0.1, 0.5],
    "momentum": [0.0, 0.5, 0.9],
    "seed": [1, 2, 3, 4],
}


def loss_after_descent(rate: float, momentum: float, seed: int, steps: int = 2_000) -> float:
    """Return the loss after a noisy gradient descent on x**2: put your own experiment here."""
    noise = random.Random(seed)
    x, speed = 10.0, 0.0
    for _ in range(steps):
        speed = momentum * speed - rate * (2 * x + noise.gauss(0, 1))
        x += speed
    return x * x


def main() -> None:
    combinations = [dict(zip(GRID, values, strict=True)) for values in itertools.product(*GRID.values())]
    found: list[dict[str, float]] = []
    with PeerPoolExecutor() as pool:
        # Each run has five minutes, and is started again if its worker dies, for instance for lack of memory.
        runs = pool.with_options(timeout=300, idempotent=True)
        futures = {runs.submit(loss_after_descent, **each): each for each in combinations}
        for done, future in enumerate(as_completed(futures), start=1):
            combination = futures[future]
            try:
                found.append({**combination, "loss": future.result()})
            except Exception as exc:  # one failed run must not cost the others
                print(f"\n{combination}: {exc!r}", file=sys.stderr)
            print(f"\r{done} of {len(futures)} runs done", end="", file=sys.stderr, flush=True)
    print(file=sys.stderr)

    found.sort(key=lambda row: row["loss"])
    with open(sys.argv[1] if len(sys.argv) > 1 else "sweep.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, [*GRID, "loss"])
        writer.writeheader()
        writer.writerows(found)
    print(f"best of {len(found)}: {found[0]}; all are in {file.name}")


main()
