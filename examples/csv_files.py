"""
Read many CSV files with pandas, one task per file, and add up what they contain.

    pip install woolexec pandas
    python csv_files.py [FOLDER]

Without a folder it makes a small one.
"""

import sys
import tempfile
from pathlib import Path

import pandas as pd

from woolexec import PeerPoolExecutor


def summarize(path: Path) -> pd.DataFrame:
    """Return the sales of each product in one file."""
    # Read in the worker, return a small table: what crosses between processes is the path and the totals.
    sales = pd.read_csv(path, usecols=["product", "quantity", "price"])
    sales["turnover"] = sales["quantity"] * sales["price"]
    return sales.groupby("product")[["quantity", "turnover"]].sum()


def summarize_all(paths: list[Path]) -> pd.DataFrame:
    with PeerPoolExecutor() as pool:
        # Files differ in size, so take each result when it is ready.  A file that cannot be read raises here, with a
        # note that says which item it was; return_exceptions=True would give its exception as a result instead.
        tables = list(pool.map(summarize, paths, ordered=False))
    return pd.concat(tables).groupby(level=0).sum().sort_values("turnover", ascending=False)


def make_files(folder: Path, count: int = 12) -> None:
    for month in range(1, count + 1):
        rows = [f"{product},{month + n},{2.5 * (n + 1)}" for n, product in enumerate(["apples", "pears", "plums"])]
        (folder / f"sales-{month:02}.csv").write_text("\n".join(["product,quantity,price", *rows * 100]) + "\n")


def main() -> None:
    with tempfile.TemporaryDirectory() as made:
        folder = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(made)
        if len(sys.argv) == 1:
            make_files(folder)
        paths = sorted(folder.glob("*.csv"))
        if not paths:
            sys.exit(f"no CSV files in {folder}")
        print(summarize_all(paths).to_string())


# No `if __name__ == "__main__":` is needed: workers do not import this file.
main()
