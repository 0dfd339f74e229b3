"""Row 45: functions of ``__main__``, a REPL or a notebook, of every kind, redefined or changed while workers run."""

import functools
import operator
import os
import subprocess
import sys
import types

import pytest

from tests.shared_pools import start
from woolexec import PeerPoolExecutor

from . import tasks_b
from .tasks import SOON

# -- scripts ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def lone(tmp_path_factory):
    """One worker for all tests here: none of them may harm it."""
    with PeerPoolExecutor(1) as executor:
        start(executor, 1, tmp_path_factory.mktemp("lone") / "started")
        yield executor


def output(caller):
    code, out, err = caller.end()
    assert code == 0, err
    return out.split("\n")[:-1]


def python(*args, stdin=""):
    """Run an interpreter somewhere else; return its stdout and stderr."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    done = subprocess.run(
        [sys.executable, *args],
        input=stdin,
        cwd="/",
        env=environment,
        capture_output=True,
        text=True,
        timeout=SOON,
        check=True,
    )
    return done.stdout, done.stderr


def test_script_needs_no_main_guard(run):
    script = """
        print("imported")
        from woolexec import PeerPoolExecutor
        def double(x):
            return 2 * x
        pool = PeerPoolExecutor(2)
        print(list(pool.map(double, range(3))))
        pool.shutdown()
    """
    assert output(run(script)) == ["imported", "[0, 2, 4]"]


def test_script_may_send_its_functions_classes_and_exceptions(run):
    script = """
        from woolexec import PeerPoolExecutor
        RATE = 3
        class Price:
            def __init__(self, value): self.value = value
            def total(self): return RATE * self.value
        class Refused(Exception): pass
        def base(x): return Price(x)
        def refuse(): raise Refused("no")
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(base, 5).result().total())
            print(pool.submit(Price(4).total).result())
            print(pool.submit(Price.total, Price(2)).result())
            print(isinstance(pool.submit(Price, 1).result(), Price))
            print(isinstance(pool.submit(refuse).exception(), Refused))
    """
    assert output(run(script)) == ["15", "12", "6", "True", "True"]


def test_script_may_be_a_file_run_from_anywhere(tmp_path):
    file = tmp_path / "job.py"
    file.write_text(
        "from woolexec import PeerPoolExecutor\n"
        "def f(x): return x + 1\n"
        "with PeerPoolExecutor(1) as pool: print(pool.submit(f, 1).result())\n"
    )
    assert python(file) == ("2\n", "")


def test_module_beside_a_script_is_found_by_its_workers(tmp_path):
    (tmp_path / "neighbour.py").write_text("def f(x): return x + 1\n")
    file = tmp_path / "job.py"
    file.write_text(
        "import neighbour\n"
        "from woolexec import PeerPoolExecutor\n"
        "with PeerPoolExecutor(1) as pool: print(pool.submit(neighbour.f, 1).result())\n"
    )
    assert python(file) == ("2\n", "")


def test_session_of_the_interactive_interpreter_may_define_functions_as_it_goes():
    session = (
        "from woolexec import PeerPoolExecutor\n"
        "pool = PeerPoolExecutor(1)\n"
        "def f(x): return x + 1\n\n"
        "print('first', pool.submit(f, 1).result())\n"
        "def f(x): return x + 100\n\n"
        "print('second', pool.submit(f, 1).result())\n"
        "pool.shutdown()\n"
    )
    out, err = python("-i", "-q", "-", stdin=session)
    assert "first 2" in out, err
    assert "second 101" in out, err


# -- notebooks: code that is run by exec in the namespace of a module that looks like __main__ ------------------------


@pytest.fixture
def notebook(monkeypatch):
    """Return a function that runs a cell, as IPython does."""
    module = types.ModuleType("__main__")
    monkeypatch.setitem(sys.modules, "__main__", module)

    def run_cell(source):
        exec(compile(source, "<cell>", "exec"), module.__dict__)
        return module

    return run_cell


def test_cell_may_define_a_function(notebook, lone):
    cell = notebook("def f(x): return x + 1")
    assert lone.submit(cell.f, 1).result(SOON) == 2


def test_function_defined_anew_under_the_same_name_is_the_one_that_runs(notebook, lone):
    for number in range(5):
        cell = notebook(f"def f(x): return x + {number}")
        assert lone.submit(cell.f, 1).result(SOON) == 1 + number


def test_function_that_is_called_by_another_may_be_defined_anew(notebook, lone):
    cell = notebook("def inner(x): return x + 1\ndef outer(x): return inner(x)")
    assert lone.submit(cell.outer, 1).result(SOON) == 2
    notebook("def inner(x): return x + 10")
    assert lone.submit(cell.outer, 1).result(SOON) == 11


def test_class_defined_anew_under_the_same_name_is_the_one_that_runs(notebook, lone):
    cell = notebook("class Shop:\n    def sell(self): return 'old'\ndef f(): return Shop().sell()")
    assert lone.submit(cell.f).result(SOON) == "old"
    notebook("class Shop:\n    def sell(self): return 'new'")
    assert lone.submit(cell.f).result(SOON) == "new"
    assert lone.submit(cell.Shop().sell).result(SOON) == "new"


def test_method_replaced_on_a_class_is_the_one_that_runs(notebook, lone):
    cell = notebook("class Shop:\n    def sell(self): return 'old'\nshop = Shop()")
    assert lone.submit(cell.shop.sell).result(SOON) == "old"
    notebook("Shop.sell = lambda self: 'new'")
    assert lone.submit(cell.shop.sell).result(SOON) == "new"


@pytest.mark.parametrize(("before", "after"), [("1", "2"), ("(1,)", "(2,)"), ("[1]", "[2]"), ("None", "3.5")])
def test_changed_global_is_seen(notebook, lone, before, after):
    cell = notebook(f"rate = {before}\ndef f(): return rate")
    assert lone.submit(cell.f).result(SOON) == eval(before)
    notebook(f"rate = {after}")
    assert lone.submit(cell.f).result(SOON) == eval(after)


def test_global_changed_in_place_is_seen(notebook, lone):
    cell = notebook("prices = {'tea': 1}\ndef f(): return prices")
    assert lone.submit(cell.f).result(SOON) == {"tea": 1}
    notebook("prices['tea'] = 2")
    assert lone.submit(cell.f).result(SOON) == {"tea": 2}


def test_global_that_appears_later_is_seen(notebook, lone):
    cell = notebook("def f(): return late")
    assert isinstance(lone.submit(cell.f).exception(SOON), NameError)
    notebook("late = 5")
    assert lone.submit(cell.f).result(SOON) == 5


def test_changed_default_is_seen(notebook, lone):
    cell = notebook("def f(x=1): return x")
    assert lone.submit(cell.f).result(SOON) == 1
    cell.f.__defaults__ = (2,)
    assert lone.submit(cell.f).result(SOON) == 2


def test_changed_attribute_of_a_function_is_seen(notebook, lone):
    cell = notebook("def f(): return f.rate\nf.rate = 1")
    assert lone.submit(cell.f).result(SOON) == 1
    cell.f.rate = 2
    assert lone.submit(cell.f).result(SOON) == 2


def test_replaced_code_of_a_function_is_seen(notebook, lone):
    cell = notebook("def f(): return 1\ndef g(): return 2")
    assert lone.submit(cell.f).result(SOON) == 1
    cell.f.__code__ = cell.g.__code__
    assert lone.submit(cell.f).result(SOON) == 2


def test_map_runs_the_function_as_it_is_when_map_is_called(notebook, lone):
    cell = notebook("rate = 1\ndef f(x): return rate * x")
    assert list(lone.map(cell.f, [1, 2])) == [1, 2]
    notebook("rate = 10")
    assert list(lone.map(cell.f, [1, 2])) == [10, 20]


def test_two_functions_of_the_same_name_both_run(notebook, lone):
    first = notebook("def f(): return 1").f
    second = notebook("def f(): return 2").f
    assert [lone.submit(fn).result(SOON) for fn in (first, second, first, second)] == [1, 2, 1, 2]


def test_recursive_function_of_main_runs(notebook, lone):
    cell = notebook("def fact(n): return 1 if n == 0 else n * fact(n - 1)")
    assert lone.submit(cell.fact, 10).result(SOON) == 3628800


def test_functions_of_main_that_call_each_other_run(notebook, lone):
    cell = notebook("def even(n): return n == 0 or odd(n - 1)\ndef odd(n): return n != 0 and even(n - 1)")
    assert lone.submit(cell.even, 10).result(SOON) is True


def test_decorated_function_of_main_runs(notebook, lone):
    cell = notebook("""
import functools
def twice(fn):
    @functools.wraps(fn)
    def run(x): return 2 * fn(x)
    return run
@twice
def f(x): return x + 1
""")
    assert lone.submit(cell.f, 1).result(SOON) == 4


def test_instance_of_a_class_of_main_comes_home_as_one(notebook, lone):
    cell = notebook("class Shop:\n    stock = 3\ndef make(): return Shop()")
    assert type(lone.submit(cell.make).result(SOON)) is cell.Shop


def test_enum_and_named_tuple_of_main_come_home_equal(notebook, lone):
    cell = notebook("""
import collections, enum
class Tea(enum.Enum):
    GREEN = 1
Point = collections.namedtuple("Point", "x y")
def f(): return Tea.GREEN, Point(1, 2)
""")
    tea, point = lone.submit(cell.f).result(SOON)
    assert tea is cell.Tea.GREEN
    assert point == cell.Point(1, 2)


def test_dataclass_of_main_travels_both_ways(notebook, lone):
    cell = notebook(
        "import dataclasses\n@dataclasses.dataclass\nclass Point:\n    x: int\ndef f(p): return Point(p.x + 1)"
    )
    assert lone.submit(cell.f, cell.Point(1)).result(SOON) == cell.Point(2)


# -- callables of every kind ------------------------------------------------------------------------------------------


def closure(rate):
    def scale(x):
        return rate * x

    return scale


def counting():
    seen = []

    def count(x):
        seen.append(x)
        return len(seen)

    return count, seen


CALLABLES = {
    "lambda": (lambda x: x + 1, (1,), 2),
    "closure": (closure(3), (4,), 12),
    "partial": (functools.partial(pow, 2), (5,), 32),
    "partial of a lambda": (functools.partial(lambda x, y: x - y, y=1), (5,), 4),
    "partial of a partial": (functools.partial(functools.partial(max, 1), 2), (3,), 3),
    "bound method": (tasks_b.Shop(5).sell, (2,), 3),
    "instance": (tasks_b.Shop(5), (2,), 3),
    "static method": (tasks_b.Shop.greet, ("you",), "hello you"),
    "unbound method": (tasks_b.Shop.sell, (tasks_b.Shop(9), 1), 8),
    "builtin": (abs, (-1,), 1),
    "method of a string": ("shop".join, (["a", "b"],), "ashopb"),
    "method wrapper": ([3, 1, 2].__getitem__, (1,), 1),
    "class": (int, ("7",), 7),
    "class of containers": (dict, ([(1, 2)],), {1: 2}),
    "item getter": (operator.itemgetter(1), ([5, 6],), 6),
    "method caller": (operator.methodcaller("upper"), ("a",), "A"),
    "method of a builtin class": (str.upper, ("a",), "A"),
}


@pytest.mark.parametrize("kind", CALLABLES)
def test_callable_of_any_kind_runs(lone, kind):
    fn, args, value = CALLABLES[kind]
    assert lone.submit(fn, *args).result(SOON) == value
    assert list(lone.map(fn, *([arg] for arg in args))) == [value]


def test_class_method_runs(lone):
    assert lone.submit(tasks_b.Shop.empty).result(SOON).stock == 0


def test_state_of_a_bound_method_is_that_at_submit(lone):
    shop = tasks_b.Shop(5)
    assert lone.submit(shop.sell, 1).result(SOON) == 4
    shop.stock = 50
    assert lone.submit(shop.sell, 1, rebate=9).result(SOON) == 40


def test_state_of_a_closure_is_that_at_submit(lone):
    count, seen = counting()
    assert lone.submit(count, 1).result(SOON) == 1
    assert seen == []
    seen.extend([1, 2])
    assert lone.submit(count, 1).result(SOON) == 3


def test_late_binding_of_a_loop_variable_is_that_of_python(lone):
    functions = [lambda: i for i in range(3)]  # noqa: B023  # just this is tested
    assert [lone.submit(fn).result(SOON) for fn in functions] == [2, 2, 2]


def test_keyword_only_positional_only_and_rest_arguments_arrive_as_given(lone):
    future = lone.submit(tasks_b.add_keywords, 1, 2, 3, c=4, e=5, fn=6, self=7, timeout=8)
    assert future.result(SOON) == (1, 2, (3,), 4, 4, {"e": 5, "fn": 6, "self": 7, "timeout": 8})


def test_wrong_arguments_fail_that_future_only(lone):
    one, other = lone.submit(abs), lone.submit(abs, -1)
    assert isinstance(one.exception(SOON), TypeError)
    assert other.result(SOON) == 1


def test_what_is_not_callable_fails_that_future_only(lone):
    one, other = lone.submit(5, 1), lone.submit(abs, -1)
    assert isinstance(one.exception(SOON), TypeError)
    assert other.result(SOON) == 1


def test_more_functions_than_a_worker_remembers_all_run(lone):
    functions = [eval(f"lambda x: x + {number}") for number in range(300)]
    for _ in range(2):
        futures = [lone.submit(fn, 1) for fn in functions]
        assert [future.result(SOON) for future in futures] == [1 + number for number in range(300)]


def test_function_defined_in_a_function_of_a_module_that_is_not_importable_runs(lone):
    module = types.ModuleType("nowhere")
    exec("rate = 4\ndef f(x): return rate * x", module.__dict__)
    assert lone.submit(module.f, 2).result(SOON) == 8
