"""joblib: its backend "woolexec" against its own, loky.  The stdlib has no part in these."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.bench.goals import TIMES, Figure, Goal

from .workload import Sample, Workload, timed

if TYPE_CHECKING:
    from tests.bench.contenders import Contender


def missing() -> str | None:
    """Say which library is missing, if one is."""
    for name in ("joblib", "sklearn"):
        if importlib.util.find_spec(name) is None:
            return f"{name} is not installed"
    return None


def backend_of(contender: Contender) -> str:
    """Return the name of a contender's backend, after it was registered."""
    if contender.name == "woolexec":
        import woolexec.joblib

        woolexec.joblib.register()
    return contender.name


_FIRST = """
import sys, time
backend = sys.argv[1]
from joblib import Parallel, delayed
if backend == "woolexec":
    import woolexec.joblib
    woolexec.joblib.register()
begun = time.perf_counter()
assert Parallel(n_jobs=2, backend=backend)([delayed(abs)(-1)]) == [1]
print(time.perf_counter() - begun)
"""


def first_result(contender: Contender, *, programs: int) -> Sample:
    """Measure from the first call of `Parallel` in a program to its result; the median of several programs."""
    seconds = []
    for _ in range(programs):
        command = [sys.executable, "-c", _FIRST, contender.name]
        ran = subprocess.run(command, capture_output=True, text=True, check=True, stdin=subprocess.DEVNULL)
        seconds.append(float(ran.stdout))
    return {"first": sorted(seconds)[programs // 2] * 1e3}


def nap(number: int) -> int:
    """Sleep for a millisecond."""
    time.sleep(0.001)
    return number


def same(number: int) -> int:
    """Return the argument."""
    return number


def size_of(array: Any, number: int) -> int:
    """Look at the ends of an array."""
    return int(array[0] + array[-1]) + number


def tasks(contender: Contender, *, naps: int, small: int, single: int) -> Sample:
    """Run tasks of several kinds, with workers that have run something."""
    from joblib import Parallel, delayed, parallel_config

    def run(count: int, fn: Any, *, batch_size: int | str = "auto") -> None:
        if Parallel(batch_size=batch_size)(delayed(fn)(number) for number in range(count)) != list(range(count)):
            raise RuntimeError("other results came back")

    with parallel_config(backend_of(contender), n_jobs=2):
        run(100, nap)
        run(1000, same)
        return {
            "naps": timed(run, naps, nap)[0],
            "small": small / timed(run, small, same)[0],
            "single": single / timed(lambda: run(single, same, batch_size=1))[0],
        }


def large_inputs(contender: Contender, *, arrays: int, megabytes: int) -> Sample:
    """Run tasks with large arguments: one for all of them, and each its own."""
    import numpy as np
    from joblib import Parallel, delayed, parallel_config

    def shared(count: int) -> None:
        array = np.zeros(megabytes * 125_000)
        if Parallel()(delayed(size_of)(array, number) for number in range(count)) != list(range(count)):
            raise RuntimeError("other results came back")

    def distinct(count: int) -> None:
        made = (np.full(megabytes * 125_000, number) for number in range(count))
        if Parallel()(delayed(size_of)(array, 0) for array in made) != [2 * number for number in range(count)]:
            raise RuntimeError("other results came back")

    with parallel_config(backend_of(contender), n_jobs=2):
        distinct(2)
        return {"shared": timed(shared, arrays)[0], "distinct": timed(distinct, arrays)[0]}


def grid_search(contender: Contender, *, folds: int) -> Sample:
    """Search the parameters of a support vector machine on the digits, as scikit-learn's own example does."""
    from joblib import parallel_config
    from sklearn.datasets import load_digits
    from sklearn.model_selection import GridSearchCV
    from sklearn.svm import SVC

    inputs, targets = load_digits(return_X_y=True)
    grid = {"C": [1, 10, 100], "gamma": [1e-2, 1e-3, 1e-4]}

    def search() -> float:
        return float(GridSearchCV(SVC(), grid, cv=folds, n_jobs=2).fit(inputs / 16, targets).best_score_)

    with parallel_config(backend_of(contender), n_jobs=2):
        search()  # the workers have imported what it needs
        seconds, score = timed(search)
    if score < 0.9:
        raise RuntimeError(f"the best score is {score}")
    return {"search": seconds}


_NOT_SLOWER = (Goal(1.05, "loky"),)

JOBLIB_FIRST = Workload(
    name="joblib-first",
    probe=first_result,
    figures=(
        Figure("first", "joblib: first Parallel to its result", "ms", "lower", (Goal(0.5, "loky"),), reference="loky"),
    ),
    size={"programs": 3},
    quick={"programs": 1},
    contenders=("woolexec", "loky"),
    libraries=False,
    missing=missing,
)

JOBLIB_TASKS = Workload(
    name="joblib-tasks",
    probe=tasks,
    figures=(
        Figure("naps", f"joblib: 10,000 {TIMES} 1 ms", "s", "lower", _NOT_SLOWER, reference="loky"),
        Figure("small", "joblib: 50,000 no-ops", "tasks/s", "higher", reference="loky"),
        Figure("single", "joblib: no-ops in batches of one", "tasks/s", "higher", (Goal(2, "loky"),), reference="loky"),
    ),
    size={"naps": 10_000, "small": 50_000, "single": 3_000},
    quick={"naps": 20, "small": 20, "single": 20},
    contenders=("woolexec", "loky"),
    libraries=False,
    missing=missing,
)

JOBLIB_ARRAYS = Workload(
    name="joblib-arrays",
    probe=large_inputs,
    figures=(
        Figure("shared", "joblib: 100 tasks, one input of 100 MB", "s", "lower", _NOT_SLOWER, reference="loky"),
        Figure("distinct", f"joblib: 100 {TIMES} 100 MB, each its own", "s", "lower", _NOT_SLOWER, reference="loky"),
    ),
    size={"arrays": 100, "megabytes": 100},
    quick={"arrays": 3, "megabytes": 2},
    contenders=("woolexec", "loky"),
    libraries=False,
    missing=missing,
)

JOBLIB_SEARCH = Workload(
    name="joblib-search",
    probe=grid_search,
    figures=(Figure("search", "joblib: GridSearchCV on digits", "s", "lower", _NOT_SLOWER, reference="loky"),),
    size={"folds": 5},
    quick={"folds": 2},
    contenders=("woolexec", "loky"),
    libraries=False,
    missing=missing,
)

JOBLIB = (JOBLIB_FIRST, JOBLIB_TASKS, JOBLIB_ARRAYS, JOBLIB_SEARCH)
