import gc
import os
import pickle
import weakref

import pytest

from woolexec.worker import code_import, initializer, setup
from woolexec.worker.setup import Setup

steps = []


class Noted:
    """A function that notes when it is unpickled."""

    def __reduce__(self):
        return note, ()


def note():
    steps.append("function")
    return os.getpid


@pytest.fixture(autouse=True)
def noted(monkeypatch):
    steps.clear()
    monkeypatch.setattr(code_import, "use", lambda code: steps.append(code))
    monkeypatch.setattr(initializer, "run", lambda made, fail: steps.append((made.initializer, fail)))


def fail(exc):
    raise AssertionError(exc)


def test_code_comes_before_the_initializer_and_both_before_the_function():
    code = (("crate", "1" * 64),)
    wrapped = Setup(code, [b"initializer"]).wrap([pickle.dumps(Noted())])

    function, found = setup.load(wrapped, fail)

    assert steps == [code, ((b"initializer",), fail), "function"]
    assert function is os.getpid
    assert found.code == code


def test_function_without_a_setup_has_none_also_after_one_that_has():
    assert setup.load(Setup([], [b"x"]).wrap([pickle.dumps(os.getpid)]), fail)[1] is not None

    assert setup.load(pickle.dumps(os.getpid), fail) == (os.getpid, None)


def test_nothing_of_a_call_is_kept_once_its_function_is_loaded():
    class Fail:
        def __call__(self, exc):
            raise AssertionError(exc)

    one = Fail()
    kept = weakref.ref(one)
    setup.load(pickle.dumps(os.getpid), one)
    del one
    gc.collect()

    assert kept() is None


def test_setup_without_code_and_initializer_does_nothing_else():
    function, found = setup.load(Setup([]).wrap([pickle.dumps(Noted())]), fail)

    assert (steps, function, found.digests) == (["function"], os.getpid, ())


def test_setup_arrives_with_all_that_it_says():
    sent = Setup([("a", "1"), ("b", "2")], [memoryview(b"body"), b"buffer"], b"key", 2.5)

    _, found = setup.load(sent.wrap([memoryview(pickle.dumps(os.getpid))]), fail)

    assert (found.code, found.initializer) == ((("a", "1"), ("b", "2")), (b"body", b"buffer"))
    assert (found.key, found.timeout, found.digests) == (b"key", 2.5, ("1", "2"))


def test_function_is_not_unpickled_after_an_initializer_that_raises(monkeypatch):
    def raises(_setup, _fail):
        raise LookupError("no initializer")

    monkeypatch.setattr(initializer, "run", raises)
    with pytest.raises(LookupError, match="no initializer"):
        setup.load(Setup([], [b"x"]).wrap([pickle.dumps(Noted())]), fail)

    assert steps == []
    assert setup.load(pickle.dumps(os.getpid), fail) == (os.getpid, None)
