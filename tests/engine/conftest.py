"""An engine whose processes and clock the test controls."""

import pytest

from tests.engine.fake_workers import Fake


@pytest.fixture
def make_engine(monkeypatch):
    made = []

    def make(limit=1, **options):
        made.append(Fake(monkeypatch, limit, **options))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def engine(make_engine):
    return make_engine()


@pytest.fixture
def due():
    return set()


@pytest.fixture
def told():
    return []


@pytest.fixture
def run(told):
    def run():
        while told:
            told.pop(0)()

    return run
