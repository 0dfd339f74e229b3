"""Records of a worker's loggers, passed to the handlers of the caller."""

import logging
import warnings

import pytest

from woolexec import PeerPoolExecutor


def log(name, level, text, *args, **extra):
    logging.getLogger(name).log(level, text, *args, extra=extra or None)


def log_exception():
    try:
        1 / 0  # noqa: B018
    except ZeroDivisionError:
        logging.getLogger("app").exception("it failed")


class Odd:
    def __reduce__(self):
        raise TypeError("no pickle")

    def __repr__(self):
        return "<odd>"


def log_odd():
    logging.getLogger("app").warning("see %s", Odd(), extra={"odd": Odd()})


def levels():
    return logging.getLogger("quiet").getEffectiveLevel(), logging.getLogger("app").getEffectiveLevel()


def log_and_warn():
    logging.captureWarnings(True)
    warnings.warn("careful", stacklevel=1)


@pytest.fixture
def records(caplog):
    """What arrived; complete once the pool was shut down."""
    caplog.set_level(logging.DEBUG)

    def run(fn, *args, **kwargs):
        with PeerPoolExecutor(1) as pool:
            value = pool.submit(fn, *args, **kwargs).result(30)
        return value, [record for record in caplog.records if record.name != "woolexec"]

    return run


def test_record_arrives_as_it_was_made(records):
    _, [record] = records(log, "app.part", logging.WARNING, "%d of %s", 3, "four", user="x")

    assert (record.name, record.levelno, record.getMessage()) == ("app.part", logging.WARNING, "3 of four")
    assert record.user == "x"
    assert record.funcName == "log"


def test_traceback_arrives_as_text(records):
    _, [record] = records(log_exception)

    assert record.exc_info is None
    assert "ZeroDivisionError" in record.exc_text


def test_record_that_does_not_pickle_arrives_in_words(records):
    _, [record] = records(log_odd)

    assert record.getMessage() == "see <odd>"
    assert record.odd == "<odd>"


@pytest.mark.parametrize("extra", [{}, {"rows": b"x" * 2_000_000, "user": "x"}])
def test_record_that_is_too_large_arrives_shortened_and_says_so(records, extra):
    _, [record] = records(log, "app", logging.WARNING, "%s is %s", "x" * (10 if extra else 2_000_000), "long", **extra)

    assert record.getMessage().startswith("xxxxxxxxxx is long..." if extra else "x" * 65_536 + "...")
    assert "[shortened: the record had 200" in record.getMessage()
    assert len(record.getMessage()) < 66_000
    assert (record.levelno, record.funcName) == (logging.WARNING, "log")
    assert hasattr(record, "host")
    assert not hasattr(record, "rows")


def test_record_below_the_limit_arrives_whole(records):
    _, [record] = records(log, "app", logging.WARNING, "x" * 1_000_000, rows=b"x" * 10_000)

    assert record.getMessage() == "x" * 1_000_000
    assert len(record.rows) == 10_000


def test_levels_of_the_caller_hold_in_workers(records, caplog):
    caplog.set_level(logging.ERROR, logger="quiet")

    got, _ = records(levels)

    assert got == (logging.ERROR, logging.DEBUG)


def test_record_below_the_level_does_not_travel(records, caplog):
    caplog.set_level(logging.ERROR, logger="quiet")

    _, got = records(log, "quiet", logging.WARNING, "unheard")

    assert got == []


@pytest.mark.filterwarnings("default")  # which the worker is told
def test_warnings_arrive_when_they_are_captured(records):
    _, [record] = records(log_and_warn)

    assert record.name == "py.warnings"


def test_records_arrive_in_order(records):
    _, got = records(log_many)

    assert [record.getMessage() for record in got] == list(map(str, range(200)))


def log_many():
    for number in range(200):
        logging.getLogger("app").info("%d", number)
