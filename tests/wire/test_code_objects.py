"""Code that travels by value: its tables, its file and its lines, in the sender and in the receiver."""

import inspect
import linecache
import traceback
import types

import pytest

from woolexec.wire import code_objects, unpickling
from woolexec.wire.pickling import dumps
from woolexec.wire.unpickling import loads

SOURCE = '''"""A module."""
import functools

def divide(n):
    """Divide."""
    rest = n - n
    return n / rest  # the line at fault

def outer(n):
    def inner(rest):
        return [n / each for each in rest]  # in a comprehension
    return inner(
        [0],
    )

@functools.lru_cache(maxsize=None)
def cached(n):
    return n / 0  # below a decorator

class Shop:
    def sell(self, n):
        return n / 0  # in a method

by_lambda = lambda n: n / 0  # in a lambda

def generator(n):
    yield n / 0  # in a generator

async def coroutine(n):
    return n / 0  # in a coroutine
'''


@pytest.fixture(autouse=True)
def elsewhere(monkeypatch):
    """Pose as another process, which knows no lines but those that come."""
    cache = dict(linecache.cache)
    monkeypatch.setattr(unpickling, "is_worker", True)
    monkeypatch.setattr(code_objects, "_arrived", {})
    yield
    linecache.cache.clear()
    linecache.cache.update(cache)


def forget():
    for filename in [name for name in linecache.cache if "cell" in name or "script" in name or "input" in name]:
        del linecache.cache[filename]


def define(filename, source=SOURCE):
    """Run source whose lines are known, as notebooks and REPLs do."""
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    return run(filename, source)


def run(filename, source=SOURCE):
    module = types.ModuleType("nowhere")
    exec(compile(source, filename, "exec"), module.__dict__)
    return module


def failure(fn, *args):
    try:
        result = fn(*args)
        if inspect.isgenerator(result):
            next(result)
        elif inspect.iscoroutine(result):
            result.send(None)
    except ZeroDivisionError as exc:
        return traceback.extract_tb(exc.__traceback__)[1:]
    raise AssertionError


NOT_DATA = {"co_consts", "co_lines", "co_positions", "co_branches", "co_lnotab"}  # functions, and what is deprecated

KINDS = {
    "divide": "return n / rest  # the line at fault",
    "outer": "return [n / each for each in rest]  # in a comprehension",
    "cached": "return n / 0  # below a decorator",
    "by_lambda": "by_lambda = lambda n: n / 0  # in a lambda",
    "generator": "yield n / 0  # in a generator",
    "coroutine": "return n / 0  # in a coroutine",
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("filename", ["<ipython-input-1-cell>", "/nowhere/ipykernel_1/cell.py"])
def test_lines_of_what_was_typed_travel(filename, kind):
    payload = dumps(getattr(define(filename), kind))
    forget()

    frames = failure(loads(payload), 1)

    assert frames[-1].filename == filename
    assert frames[-1].line == KINDS[kind]
    assert [frame.lineno for frame in frames] == [frame.lineno for frame in failure(getattr(run(filename), kind), 1)]
    assert all(frame.line for frame in frames)


def test_lines_of_a_method_travel():
    payload = dumps(define("<cell 5>").Shop())
    forget()

    assert failure(loads(payload).sell, 1)[-1].line == "return n / 0  # in a method"


def test_code_is_the_same_in_all_that_can_be_seen():
    for code in (run("<cell>").outer.__code__, run("<cell>").divide.__code__, test_lines_of_a_method_travel.__code__):
        copy = loads(dumps(code))

        pending = [(code, copy)]
        while pending:
            one, other = pending.pop()
            for name in dir(one):
                if name.startswith("co_") and name not in NOT_DATA:
                    assert getattr(one, name) == getattr(other, name), name
            assert [*one.co_lines()] == [*other.co_lines()]
            assert [*one.co_positions()] == [*other.co_positions()]
            consts = zip(one.co_consts, other.co_consts, strict=True)
            pending += [pair for pair in consts if isinstance(pair[0], types.CodeType)]


def test_source_of_a_function_can_be_read_where_it_arrives():
    payload = dumps([define("<cell 7>").divide, run("<cell 7>").outer])
    forget()

    divide, outer = loads(payload)

    assert inspect.getsource(divide) == SOURCE[SOURCE.index("def divide") : SOURCE.index("\ndef outer")]
    assert inspect.getsource(outer) == SOURCE[SOURCE.index("def outer") : SOURCE.index("\n@functools")]


def test_long_functions_travel_compressed():
    body = "".join(f"    value = {number}  # and some more text\n" for number in range(1000))
    function = define("<cell long>", f"def long(value):\n{body}    return value / 0\n").long

    payload = dumps(function)
    forget()

    assert failure(loads(payload), 1)[-1].line == "return value / 0"
    assert len(payload) - len(dumps(run("<cell other>", f"def long(value):\n{body}    return value / 0\n").long)) < 8000


def test_lines_of_a_file_that_is_not_there_travel(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SOURCE)
    payload = dumps(run(str(script)).divide)
    script.unlink()
    forget()

    assert failure(loads(payload), 1)[-1].line == KINDS["divide"]


def test_lines_are_the_callers_where_another_file_has_the_name(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SOURCE)
    payload = dumps(run(str(script)).divide)
    script.write_text("# something else\n" * 40)
    forget()

    assert failure(loads(payload), 1)[-1].line == KINDS["divide"]
    assert linecache.getline(str(script), 1) == "# something else\n"


def test_very_file_is_read_where_it_is(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SOURCE)
    payload = dumps(run(str(script)).divide)
    forget()

    divide = loads(payload)

    assert str(script) not in linecache.cache
    assert failure(divide, 1)[-1].line == KINDS["divide"]


def test_what_the_caller_knows_of_lines_stays_when_a_function_comes_home(monkeypatch):
    payload = dumps(define("<cell 9>").divide)
    text = "# edited\n" * 30
    linecache.cache["<cell 9>"] = (len(text), None, text.splitlines(keepends=True), "<cell 9>")
    monkeypatch.setattr(unpickling, "is_worker", False)

    loads(payload)

    assert linecache.getline("<cell 9>", 7) == "# edited\n"


def test_function_defined_anew_in_a_file_of_the_same_name_brings_its_lines():
    first = dumps(define("<cell 3>").divide)
    second = dumps(define("<cell 3>", SOURCE.replace("fault", "blame")).divide)
    forget()

    assert failure(loads(first), 1)[-1].line.endswith("fault")
    assert failure(loads(second), 1)[-1].line.endswith("blame")


def test_source_that_only_a_loader_has_travels():
    class Loader:
        def get_source(self, name):
            return SOURCE

    module = types.ModuleType("nowhere")
    module.__loader__ = Loader()
    module.__spec__ = types.SimpleNamespace(name="nowhere", loader=module.__loader__)
    exec(compile(SOURCE, "/nowhere/app.pyz/script.py", "exec"), module.__dict__)
    payload = dumps(module.divide)
    forget()

    assert failure(loads(payload), 1)[-1].line == KINDS["divide"]


@pytest.mark.skipif(not hasattr(linecache, "_interactive_cache"), reason="Python 3.14 and later keep these lines")
def test_lines_of_code_without_a_file_name_of_its_own_travel_for_it_alone():
    code = compile(SOURCE, "<string>", "exec")
    linecache._register_code(code, SOURCE, "<string>")
    module = types.ModuleType("nowhere")
    exec(code, module.__dict__)
    payload = dumps(module.divide)
    linecache._interactive_cache.clear()

    assert failure(loads(payload), 1)[-1].line == KINDS["divide"]
    assert linecache.getline("<string>", 7) == ""


def test_code_without_lines_travels_without(monkeypatch):
    module = run("<nobody knows>")

    frames = failure(loads(dumps(module.divide)), 1)

    assert frames[-1].filename == "<nobody knows>"
    assert frames[-1].lineno == 7
    assert not frames[-1].line


def test_cache_of_lines_that_fails_and_odd_line_numbers_cost_the_lines_only():
    def fail(*args):
        raise RuntimeError("no lines today")

    function = define("<cell broken>").divide
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linecache, "getlines", fail)
        payload = dumps(function)
    assert failure(loads(payload), 1)[-1].lineno == 7

    far = define("<cell odd>").divide.__code__.replace(co_firstlineno=10**6)
    assert loads(dumps(types.FunctionType(far, {}))).__code__.co_firstlineno == 10**6


def test_lines_are_looked_for_once(monkeypatch):
    function = define("<cell once>").divide
    first = dumps(function)
    monkeypatch.setattr(code_objects, "_find", None)

    assert dumps(function) == first
