from contextvars import ContextVar, copy_context

import pytest

from woolexec.wire import context_vars, tracing
from woolexec.wire.context_vars import bind, by_name, capture, changed, reduce, register, restore
from woolexec.wire.unpickling import loads


@pytest.fixture(autouse=True)
def nothing_registered(monkeypatch):
    for name, empty in (("known", {}), ("_names", {}), ("_bare", set())):
        monkeypatch.setattr(context_vars, name, empty)


@pytest.fixture
def word():
    var = ContextVar("word")
    register(var, "module.word")
    return var


def test_nothing_travels_where_nothing_is_registered_or_set(word):
    assert capture("task") == b""
    context_vars.known.clear()
    assert (capture("task"), changed(b"")) == (b"", b"")


def test_value_is_set_in_the_context_that_restores_it_only(word):
    ctx = copy_context()
    ctx.run(word.set, ["value"])
    encoded = ctx.run(capture, "task")

    other = copy_context()
    other.run(restore, encoded)

    assert other.run(word.get) == ["value"]
    assert other.run(word.get) is not ctx.run(word.get)
    assert word.get("unset") == "unset"


def test_variable_that_is_not_known_arrives_under_its_name(word):
    ctx = copy_context()
    ctx.run(word.set, 1)
    encoded = ctx.run(capture, "task")
    context_vars.known.clear()

    other = copy_context()
    other.run(restore, encoded)

    assert other.run(by_name("module.word").get) == 1


def test_default_that_arrives_behind_a_value_replaces_the_variable_once():
    bare = by_name("module.other")
    assert by_name("module.other") is bare
    full = by_name("module.other", 5)

    assert full.get() == 5
    assert by_name("module.other") is by_name("module.other", 6) is full


def test_variable_is_reduced_to_its_name_and_default(word):
    full = ContextVar("full", default=5)
    register(full, "module.full")
    word.set("now")

    assert reduce(word) == (by_name, ("module.word",))
    assert reduce(full) == (by_name, ("module.full", 5))
    assert reduce(ContextVar("other")) is None


def test_variable_of_a_reloaded_module_takes_the_place_of_the_old_one(word):
    new = ContextVar("word")
    register(new, "module.word")
    ctx = copy_context()
    ctx.run(word.set, "old")
    assert ctx.run(capture, "task") == b""
    ctx.run(new.set, "new")

    assert loads(loads(ctx.run(capture, "task"))["module.word"]) == "new"
    assert reduce(word) is None


def test_only_values_that_differ_from_those_that_came_go_back(word):
    other = ContextVar("other")
    register(other, "module.other")
    ctx = copy_context()
    ctx.run(word.set, [1])
    ctx.run(other.set, 2)
    came = ctx.run(capture, "task")
    assert ctx.run(changed, came) == b""

    ctx.run(lambda: word.get().append(2))

    assert {name: loads(value) for name, value in loads(ctx.run(changed, came)).items()} == {"module.word": [1, 2]}
    assert loads(ctx.run(changed, b"")).keys() == {"module.word", "module.other"}


def test_bound_function_runs_in_a_context_that_its_calls_share(word):
    ctx = copy_context()
    ctx.run(word.set, "came")

    def read(new):
        before = word.get()
        word.set(new)
        return before

    bound = bind(ctx.run(capture, "task"), read, "task")

    assert (bound("a"), bound(new="b")) == ("came", "a")
    assert word.get("unset") == "unset"


def test_values_that_are_too_large_to_travel_with_each_task_are_named(monkeypatch):
    monkeypatch.setattr(context_vars, "known", {})
    var = ContextVar("big")
    register(var, "big")
    var.set(bytes(5 << 20))
    with pytest.raises(ValueError, match=r"propagated variables have 5242.* bytes.*: big"):
        capture("task")


def test_nothing_travels_where_a_library_has_imported_opentelemetry_for_programs_that_trace(monkeypatch):
    monkeypatch.setattr(tracing, "is_on", lambda: True)
    monkeypatch.setattr(tracing, "submitting", lambda _: {})
    assert capture("task") == b""
    monkeypatch.setattr(tracing, "submitting", lambda _: {"traceparent": "00-1"})
    assert loads(loads(capture("task"))[tracing.KEY]) == {"traceparent": "00-1"}
