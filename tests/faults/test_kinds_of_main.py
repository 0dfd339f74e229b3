"""Row 55: unusual kinds of ``__main__``, and modules that a worker cannot import."""

import os
import subprocess
import sys
import zipfile

import pytest

PROGRAM = """
import dataclasses
from woolexec import PeerPoolExecutor

model, cache, _missing = None, {}, object()

@dataclasses.dataclass
class Point:
    x: int

def init(name):
    global model
    model = name

def use(n):
    return model, n

def keep(n):
    cache[n] = n
    return len(cache)

def shift(point, by=_missing):
    return Point(point.x + 1), by is _missing, type(point) is Point

if __name__ == "__main__":
    with PeerPoolExecutor(1, initializer=init, initargs=("m",)) as pool:
        assert [pool.submit(use, n).result(20) for n in range(2)] == [("m", 0), ("m", 1)]
        assert [pool.submit(keep, n).result(20) for n in range(3)] == [1, 2, 3]
        assert list(pool.map(keep, range(3, 5), chunksize=1)) == [4, 5]
        assert pool.submit(shift, Point(1)).result(20) == (Point(2), True, True)
        print("well")
"""

WAYS = {
    "a script": ["app.py"],
    "a module": ["-m", "app"],
    "a profiler": ["-m", "cProfile", "-o", os.devnull, "app.py"],
    "trace": ["-m", "trace", "--count", "-C", "counts", "app.py"],
    "runpy": ["-c", "import runpy; runpy.run_path('app.py', run_name='__main__')"],
    "exec": ["-c", "exec(compile(open('app.py').read(), 'app.py', 'exec'), {'__name__': '__main__'})"],
    "an archive": ["app.zip"],
}


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "app.py").write_text(PROGRAM)
    with zipfile.ZipFile(tmp_path / "app.zip", "w") as archive:
        archive.writestr("__main__.py", PROGRAM)
    return tmp_path


def run(folder, *arguments):
    path = os.pathsep.join(entry for entry in (os.getcwd(), os.environ.get("PYTHONPATH")) if entry)
    return subprocess.run(
        [sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=50,
        check=False,
    )


@pytest.mark.parametrize("way", WAYS)
def test_program_finds_its_own_names_however_it_is_run(folder, way):
    done = run(folder, *WAYS[way])

    assert done.stdout.startswith("well"), done.stderr
    assert done.returncode == 0


CHILDREN = """
import dataclasses, multiprocessing
from woolexec import PeerPoolExecutor, current_executor

@dataclasses.dataclass
class Point:
    x: int

def double(point):
    return Point(point.x * 2)

def nested(point):
    return current_executor().submit(double, point).result(20)

def child(queue):
    try:
        with PeerPoolExecutor(1) as pool:
            queue.put((list(pool.map(double, [Point(1), Point(2)])), pool.submit(nested, Point(3)).result(20)))
    except BaseException as exc:
        queue.put(repr(exc))

if __name__ == "__main__":
    for method in ("spawn", "forkserver"):
        context = multiprocessing.get_context(method)
        queue = context.Queue()
        process = context.Process(target=child, args=(queue,))
        process.start()
        print(queue.get(timeout=40) == ([Point(2), Point(4)], Point(6)))
        process.join(20)
"""


def test_children_of_multiprocessing_make_pools_for_what_is_of_the_script(folder):
    (folder / "children.py").write_text(CHILDREN)

    done = run(folder, "children.py")

    assert (done.stdout, done.stderr) == ("True\nTrue\n", "")


BY_PATH = """
import importlib.util, math, sys, types
from woolexec import PeerPoolExecutor, current_executor

def load(name):
    spec = importlib.util.spec_from_file_location(name, "elsewhere/plugin.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

def make(name):
    module = sys.modules[name] = types.ModuleType(name)
    exec(open("elsewhere/plugin.py").read(), vars(module))
    return module

def use():
    return math.floor(1.5), module.run(1), module.Item(2), module.RATE, hasattr(module, "nothing")

def looked_up():
    return sys.modules[module.__name__] is module, module.run is vars(module)["run"]

def use_nested():
    return current_executor().submit(use).result(20)

for module in (load("plugin"), load("made_up.plugin"), make("by_hand")):
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(use).result(20) == pool.submit(use_nested).result(20) == use()
        assert pool.submit(looked_up).result(20) == (True, True)
        module.RATE = 4
        assert pool.submit(use).result(20) == use() == (1, module.Item(4), module.Item(2), 4, False)
        module.RATE = 3
        assert pool.submit(getattr, module, "RATE").result(20) == 3
        assert pool.submit(eval, "module", {"module": module}).result(20) is module
        assert pool.submit(lambda math=math, other=module: other.run(1)).result(20) == module.Item(3)
    with PeerPoolExecutor(1) as pool:
        assert pool.submit(module.run, 2).result(20) == module.Item(6)
        assert pool.submit(module.nested, 2).result(20) == module.Item(6)
        assert pool.submit(module.count, module.Item(1)).result(20) == (1, module.Item(1))
        assert pool.submit(module.count, module.Item(1)).result(20) == (2, module.Item(1))
        assert list(pool.map(module.run, range(2))) == [module.Item(0), module.Item(3)]
print("well")
"""

PLUGIN = """
import dataclasses
from woolexec import current_executor

@dataclasses.dataclass
class Item:
    n: int

RATE, seen = 3, []

def helper(n):
    return n * RATE

def run(n):
    return Item(helper(n))

def nested(n):
    return current_executor().submit(run, n).result(20)

def count(item):
    seen.append(item)
    return len(seen), item
"""


def test_modules_that_were_loaded_by_path_or_made_by_hand_are_there_in_tasks(folder):
    (folder / "elsewhere").mkdir()
    (folder / "elsewhere" / "plugin.py").write_text(PLUGIN)
    (folder / "by_path.py").write_text(BY_PATH)

    done = run(folder, "by_path.py")

    assert (done.stdout, done.stderr) == ("well\n", "")


LARGE = """
import numpy as np, os, warnings
from woolexec import PeerPoolExecutor, current_executor
warnings.simplefilter("ignore")

table, progress = np.ones(100_000), {"done": 0}

def row(n):
    return float(table[n]), progress["done"]

def place(n):
    return table.__array_interface__["data"][0]

def nested(n):
    return current_executor().submit(row, n).result(20)

async def later(n):
    return float(table[n])

with PeerPoolExecutor(1) as pool:
    for done in range(20):
        progress["done"] = done
        assert pool.submit(row, 1).result(20) == (1.0, done)
    first = pool.submit(place, 1).result(20)
    progress["done"] = 100
    assert pool.submit(row, 1).result(20) == (1.0, 100)
    assert pool.submit(place, 1).result(20) == first, "the table is held once"
    table[1] = 5.0
    assert pool.submit(row, 1).result(20) == (5.0, 100)
    assert list(pool.map(row, range(2))) == [(1.0, 100), (5.0, 100)]
    assert pool.submit(nested, 1).result(20) == (5.0, 100)
    assert pool.submit(later, 1).result(20) == 5.0
    for n in range(300):
        table[0] = n
        assert pool.submit(row, 0).result(20)[0] == n
    assert len(os.listdir("/proc/self/fd")) < 60
print("well")
"""


@pytest.mark.slow
def test_large_global_of_the_script_is_right_whatever_else_changes(folder):
    (folder / "large.py").write_text(LARGE)

    done = run(folder, "large.py")

    assert (done.stdout, done.stderr) == ("well\n", "")
