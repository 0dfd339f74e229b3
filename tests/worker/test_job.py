import functools
import os
import pickle

import pytest

from tests.worker.lanes import Engine, job
from woolexec.wire.exceptions import load_failure
from woolexec.wire.frames import Return, Start
from woolexec.wire.payload import APART, Parts
from woolexec.wire.pickling import Pickled, dumps_value
from woolexec.wire.unpickling import loads
from woolexec.worker.code_import import FOLDER
from woolexec.worker.job import UNPICKLING, Slot, dumps_item, dumps_results, jobs_of, pickled_alone


class Callable:
    def __call__(self):
        pass


@pytest.mark.parametrize(
    ("function", "given", "name"),
    [
        (len, "", "len"),
        (len, "given", "given"),
        (functools.partial(functools.partial(Engine.send, 1), 2), "", "Engine.send"),
        (Callable(), "", "Callable"),
        (functools.partial(Callable()), "", "Callable"),
    ],
)
def test_task_has_the_name_that_it_was_given_or_that_of_its_function(function, given, name):
    assert job(1, function, name=given).name == name


class Counted:
    """A function that cannot be unpickled until it has been tried a number of times."""

    tries = 0

    def __reduce__(self):
        return unpickle, ()


def unpickle():
    Counted.tries += 1
    if Counted.tries < 3:
        raise LookupError("not yet")
    return len


def test_function_is_unpickled_again_after_an_error_and_once_in_all_after_that(monkeypatch):
    monkeypatch.setattr(Counted, "tries", 0)
    slot = Slot(pickle.dumps(Counted()))
    for _ in range(2):
        with pytest.raises(LookupError):
            slot.get(job(1, None), Engine())

    assert [slot.get(job(1, None), Engine()) for _ in range(3)] == [len] * 3
    assert Counted.tries == 3


def test_run_of_calls_is_cut_into_its_payloads():
    slot = Slot(b"")
    jobs = jobs_of(Start(call=(4, 5, 6), size=(1, 0, 2), payload=b"abc"), slot, None)

    assert [(each.number, each.payload) for each in jobs] == [(4, b"a"), (5, b""), (6, b"bc")]
    assert {each.slot for each in jobs} == {slot}


@pytest.mark.parametrize(("again", "payload"), [(False, b"own"), (True, b"last chunk")])
def test_later_span_of_a_chunk_has_the_payload_that_was_sent_before(again, payload):
    [span] = jobs_of(Start(call=(4,), size=(3,), payload=b"own", again=again), Slot(b""), b"last chunk")

    assert span.payload == payload


@pytest.mark.parametrize("size", [0, 95, 96, APART - 100, APART, 3 * APART])
@pytest.mark.parametrize("context", [b"", b"changed"])
def test_value_of_any_size_is_one_return(size, context):
    engine, call = Engine(), job(7, len)
    call.succeed(engine, 0.5, dumps_value(bytes(size)), context=context)
    back = engine.next()

    assert (type(back), back.call, back.seconds, back.context) == (Return, (7,), (0.5,), context)
    assert loads(back.payload if not back.extent else cut(back)) == bytes(size)
    assert call.ended


def cut(frame):
    body = frame.extent[0]
    return Parts([bytes(frame.payload[:body]), bytes(frame.payload[body:])])


def test_exception_says_what_was_done_if_that_was_not_the_task():
    engine, call = Engine(), job(7, len)
    call.fail(engine, 0.5, ValueError("bad"), doing=UNPICKLING)
    call.fail(engine, 0.5, ValueError("own"))
    ours, own = (load_failure(engine.next().payload) for _ in range(2))

    assert [note for note in ours.__notes__ if note.startswith(f"while {UNPICKLING} in ")]
    assert not [note for note in getattr(own, "__notes__", ()) if "while" in note]


def test_exception_is_sent_with_its_types_and_loses_its_traceback():
    engine, call = Engine(), job(7, len)
    try:
        {}["k"].strip()
    except KeyError as exc:
        error = exc
        call.fail(engine, 0.5, exc, doing=UNPICKLING)
    frame = engine.next()

    assert frame.type[:2] == ("builtins:KeyError", "builtins:LookupError")
    assert error.__traceback__ is None
    assert call.held[1].tb_frame is not None  # dropped with what the call holds, after this was sent


@pytest.mark.parametrize("is_peer", [False, True])
def test_missing_module_has_advice_on_peers_only(monkeypatch, is_peer):
    monkeypatch.delenv(FOLDER, raising=False)
    if is_peer:
        monkeypatch.setitem(os.environ, FOLDER, "/nowhere")
    error = ModuleNotFoundError("no crate", name="crate")
    job(7, len).fail(Engine(), 0.5, error, doing=UNPICKLING)

    advice = "install it there, or send it with PeerPoolExecutor(ship=['crate'])"
    assert (advice in error.__notes__) is is_peer


def test_values_of_a_span_that_are_safe_are_pickled_together():
    values = [1, "a", None, b"b"]

    assert loads(dumps_results(values, {})) == (values, {})
    assert [loads(dumps_item(value, goes_home=True)) for value in values] == [([value], {}) for value in values]


class Odd:
    def __reduce__(self):
        raise LookupError("odd")


def test_value_of_a_span_that_cannot_be_pickled_fails_alone():
    alone, errors = loads(dumps_results([1, None, pickled_alone([2], goes_home=True)], {0: b"raised"}))
    assert (alone[0], alone[1], type(alone[2]), alone[2].load()) == (1, None, Pickled, [2])
    assert errors == {0: b"raised"}

    [value], errors = loads(dumps_item(Odd(), goes_home=True))
    assert (value, errors.keys()) == (None, {0})
    error = load_failure(errors[0])
    assert str(error) == "odd"
    assert any("while pickling the result" in note for note in error.__notes__)


class Sum:
    def __init__(self):
        self.value = 0

    def add(self, number):
        self.value += number
        return self.value


def test_callable_that_calls_may_change_is_unpickled_for_each():
    slot = Slot(pickle.dumps(Sum().add))

    assert [slot.get(job(1, None), Engine())(number) for number in (1, 2)] == [1, 2]


@pytest.mark.parametrize(
    ("fn", "name"),
    [(Sum().add, "Sum.add"), (functools.partial(Sum().add, 1), "Sum.add"), (functools.partial(max, []), "max")],
    ids=["method", "partial of a method", "partial"],
)
def test_callable_that_calls_may_change_is_not_kept_and_gives_the_task_its_name(fn, name):
    slot = Slot(pickle.dumps(fn))
    kept = slot.get(job(1, None), Engine())

    assert job(1, slot.function).name == name
    assert slot.function is not kept
