"""Uses of the names and classes of a script's `__main__`, which workers never import."""

import sys

import pytest


def output(caller):
    code, out, err = caller.end()
    assert code == 0, err
    return out.split("\n")[:-1]


def test_global_that_the_initializer_sets_is_seen_by_tasks(run):
    script = """
        from woolexec import PeerPoolExecutor
        def prepare(value):
            global BASE
            BASE = value
        def add(x): return BASE + x
        with PeerPoolExecutor(1, initializer=prepare, initargs=(10,)) as pool:
            print(pool.submit(add, 1).result(), list(pool.map(add, range(3))))
    """
    assert output(run(script)) == ["11 [10, 11, 12]"]


def test_global_that_the_initializer_sets_wins_over_the_callers_until_that_changes(run):
    script = """
        from woolexec import PeerPoolExecutor
        BASE = None
        def prepare(value):
            global BASE
            BASE = value
        def add(x): return BASE + x
        with PeerPoolExecutor(1, initializer=prepare, initargs=(10,)) as pool:
            print(pool.submit(add, 1).result())
            BASE = 70
            print(pool.submit(add, 1).result())
    """
    assert output(run(script)) == ["11", "71"]


def test_tasks_of_one_worker_share_what_they_keep_in_globals(run):
    script = """
        from woolexec import PeerPoolExecutor
        KEPT = {}
        def keep(key): KEPT[key] = True
        def kept(): return sorted(KEPT)
        with PeerPoolExecutor(1) as pool:
            for key in "ab":
                pool.submit(keep, key).result()
            print(pool.submit(kept).result(), KEPT)
    """
    assert output(run(script)) == ["['a', 'b'] {}"]


def test_what_a_task_keeps_does_not_reach_the_callers_names(run):
    script = """
        from woolexec import PeerPoolExecutor
        STATE = "caller"
        def change():
            global STATE
            STATE = "worker"
            return lambda: STATE
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(change).result()(), STATE)
    """
    assert output(run(script)) == ["worker caller"]


def test_instance_that_comes_home_leaves_its_class_alone(run):
    script = """
        from woolexec import PeerPoolExecutor
        RATE = 1
        class Price:
            made = 0
            def total(self): return RATE
        with PeerPoolExecutor(1) as pool:
            future = pool.submit(Price)
            Price.made, RATE = 5, 2
            price = future.result()
            print(type(price) is Price, Price.made, price.total(), Price().total())
    """
    assert output(run(script)) == ["True 5 2 2"]


def test_cached_functions_run(run):
    script = """
        import functools
        from woolexec import PeerPoolExecutor
        @functools.cache
        def fibonacci(n): return n if n < 2 else fibonacci(n - 1) + fibonacci(n - 2)
        def plus_one(n): return fibonacci(n) + 1
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(fibonacci, 30).result(), pool.submit(plus_one, 30).result())
    """
    assert output(run(script)) == ["832040 832041"]


def test_instances_of_classes_with_slots_come_home(run):
    script = """
        import dataclasses
        from woolexec import PeerPoolExecutor
        @dataclasses.dataclass(slots=True)
        class Point: x: int
        class Plain:
            __slots__ = ("a",)
            def __init__(self, a): self.a = a
        def look(item): return item, hasattr(item, "__dict__")
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(look, Point(1)).result(), pool.submit(Plain, 2).result().a)
    """
    assert output(run(script)) == ["(Point(x=1), False) 2"]


@pytest.mark.skipif(sys.version_info < (3, 15), reason="lazy imports came with Python 3.15")
def test_names_that_are_imported_lazily_are_imported_in_workers(run):
    script = """
        from woolexec import PeerPoolExecutor
        import sys
        lazy import colorsys
        lazy import xml.dom
        lazy from textwrap import dedent
        lazy from fractions import Fraction
        lazy import missing_module
        def use(): return colorsys.rgb_to_hls(1, 1, 1)[1], xml.dom.__name__, dedent(" a"), Fraction(1, 2)
        def need(): return missing_module.name
        def name(): return 1 if sys else missing_module
        class Kind:
            def method(self): return Fraction
        with PeerPoolExecutor(1) as pool:
            print(pool.submit(use).result() == (1, "xml.dom", "a", Fraction(1, 2)), pool.submit(name).result())
            print(pool.submit(Kind().method).result() is Fraction, *pool.map(lambda text: dedent(text), [" b"]))
            print(pool.submit(need).exception())
    """
    *lines, error = output(run(script))
    assert lines == ["True 1", "True b"]
    assert "missing_module" in error


@pytest.mark.parametrize("size", [1, 200_000])
def test_global_that_has_an_earlier_value_again_is_seen(run, size):
    script = f"""
        from woolexec import PeerPoolExecutor
        A, B = "a" * {size}, "b" * {size}
        def first(*_): return VALUE[0]
        def second(*_): return VALUE[0]
        async def coroutine(*_): return VALUE[0]
        with PeerPoolExecutor(1) as pool:
            for use in lambda fn: pool.submit(fn).result(), lambda fn: next(pool.map(fn, [1])):
                got = ""
                for function in first, second, first, coroutine, first:
                    for VALUE in A, B, A:
                        got += use(function)
                for VALUE, function in (A, first), (B, second), (A, first), (B, coroutine), (A, first):
                    got += use(function)
                print(got)
    """
    assert output(run(script)) == ["aba" * 5 + "ababa"] * 2


def test_proxy_whose_class_says_it_is_another_one_arrives(run):
    script = """
        from woolexec import PeerPoolExecutor
        class Proxy:
            def __init__(self, target): self.target = target
            __class__ = property(lambda self: type(self.target))
            def __getattr__(self, name): return getattr(self.target, name)
            def __reduce__(self): return Proxy, (self.target,)
        def look(proxy): return isinstance(proxy, dict), proxy.get("key"), proxy
        with PeerPoolExecutor(1) as pool:
            is_dict, value, back = pool.submit(look, Proxy({"key": 3})).result()
            print(is_dict, value, type(back) is Proxy, pool.submit(Proxy, [4]).result().target)
    """
    assert output(run(script)) == ["True 3 True [4]"]
