import logging
import pickle
import sys

import pytest

from woolexec.worker import finalizer

called = []


def note():
    called.append(1)


def fail():
    raise RuntimeError("no way")


def leave():
    sys.exit(3)


def test_function_is_called():
    called.clear()
    finalizer.run(pickle.dumps(note))
    assert called == [1]


@pytest.mark.parametrize(("function", "text"), [(fail, "no way"), (leave, "SystemExit")])
def test_what_it_raises_is_logged(function, text, caplog):
    with caplog.at_level(logging.ERROR, logger="woolexec"):
        finalizer.run(pickle.dumps(function))
    assert "the finalizer failed" in caplog.text
    assert text in caplog.text


def test_what_cannot_be_unpickled_is_logged(caplog):
    finalizer.run(b"rubbish")
    assert "the finalizer failed" in caplog.text
