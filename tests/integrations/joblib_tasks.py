"""The functions that the tests of joblib's backend run in workers."""

import functools
import os
import sys
import time


def fail_on(number, bad):
    if number == bad:
        raise ValueError(number)
    time.sleep(3600)


def nested_sum(number, deeper):
    from joblib import Parallel, delayed

    if not deeper:
        return sum(Parallel(n_jobs=2)(delayed(abs)(-each) for each in range(number)))
    return sum(Parallel(n_jobs=2, batch_size=1)(delayed(nested_sum)(number, deeper - 1) for _ in range(2)))


def nested_backend(how):
    from joblib import Parallel, delayed

    parallel = Parallel(n_jobs=2, **how)
    return type(parallel._backend).__name__, sorted(parallel(delayed(abs)(-each) for each in range(10)))


def has_joblib():
    return "joblib" in sys.modules


def variable(name):
    return os.environ.get(name)


def add_one(array):
    array += 1
    return float(array.sum()), type(array).__name__


def total(array):
    return float(array.sum())


def write(array, number):
    array[number] = number


def pid():
    time.sleep(0.01)
    return os.getpid()


def cached(number):
    return number + 1


def context_of(nested):
    return functools.partial(nested, 1, 2)
