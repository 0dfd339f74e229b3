"""The statements of docs/design.md about threads, locks and shared state are true."""

import ast
import fnmatch
import importlib.util
import re
import threading
from pathlib import Path

import pytest

from tests.mesh.conftest import CREDENTIALS, joined
from woolexec.mesh.server.peer import Peer

PAGE = Path(__file__).parents[2] / "docs" / "design.md"
PACKAGE = Path(importlib.util.find_spec("woolexec").submodule_search_locations[0])

STARTS = {"Thread", "Timer", "start_new_thread"}
LOCKS = {"Lock", "RLock", "Condition", "Event", "Latch", "Semaphore", "BoundedSemaphore", "Barrier"}
OF_USERS = {"wire/stand_ins.py"}
"""Files that create locks only in place of those of users."""


def rows(heading):
    """Return the cells of the table that starts with this heading, each without backquotes."""
    text = PAGE.read_text(encoding="utf-8")
    lines = text[text.index(f"| {heading} |") :].splitlines()
    table = []
    for line in lines[2:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line.strip("|").split(" | ")])
    assert table
    return table


def quoted(cell):
    return re.findall(r"`([^`]+)`", cell)


class Made:
    """The places of a module that create something by calling one of these names."""

    def __init__(self, source, names):
        self.tree = ast.parse(source)
        self.names = names
        self.parents = {child: node for node in ast.walk(self.tree) for child in ast.iter_child_nodes(node)}

    def __iter__(self):
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call) and ast.unparse(node.func).rpartition(".")[2] in self.names:
                yield node

    def name_of(self, node):
        """Return the variable or attribute that holds it; the function that creates it if there is none."""
        while not isinstance(node, ast.Assign | ast.AnnAssign | ast.FunctionDef | ast.AsyncFunctionDef | ast.Module):
            node = self.parents[node]
        if isinstance(node, ast.Assign | ast.AnnAssign):
            target = node.targets[-1] if isinstance(node, ast.Assign) else node.target
            return ast.unparse(target).rpartition(".")[2]
        return getattr(node, "name", "")


def files():
    for path in sorted(PACKAGE.rglob("*.py")):
        yield path.relative_to(PACKAGE).as_posix(), path.read_text(encoding="utf-8")


def name_of_thread(made, call):
    """Return the name that a thread is given, with * for what changes; None if it is given none."""
    for keyword in call.keywords:
        if keyword.arg == "name":
            text = ast.unparse(keyword.value)
            return re.sub(r"\{[^}]*\}", "*", text.lstrip("f").strip("'\""))
    holder = made.name_of(call)
    for node in ast.walk(made.tree):
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == f"{holder}.name":
            return ast.literal_eval(node.value)
    return None


def thread_faults(sources, table):
    known = [(name, file) for cells in table for name in quoted(cells[0]) or [None] for file in quoted(cells[1])]
    started = set()
    for file, text in sources:
        made = Made(text, STARTS)
        for call in made:
            name = name_of_thread(made, call)
            matching = [row for row in known if row[1] == file and (row[0] == name or _fits(row[0], name))]
            started.update(matching)
            if not matching:
                yield f"{file}:{call.lineno} starts a thread named {name}, which is not in the table"
    yield from (
        f"{name} of {file} is in the table, and not started there"
        for name, file in known
        if (name, file) not in started
    )


def _fits(row, name):
    return None not in (row, name) and fnmatch.fnmatchcase(row, name)


def lock_faults(sources, table):
    known = {(file, name) for cells in table for name in quoted(cells[0]) for file in quoted(cells[1])}
    created = set()
    for file, text in sources:
        made, lines = Made(text, LOCKS), text.splitlines()
        if file in OF_USERS:
            continue
        for call in made:
            if isinstance(made.parents[call], ast.Call) and ast.unparse(made.parents[call].func) == "type":
                continue
            name = made.name_of(call)
            created.add((file, name))
            if (file, name) not in known:
                yield f"{file}:{call.lineno} {name} is not in the table"
            if not _is_explained(lines, call):
                yield f"{file}:{call.lineno} {name} does not say beside it what it guards"
    yield from (f"{name} of {file} is in the table, and not created there" for file, name in sorted(known - created))


def fork_faults(sources):
    for file, text in sources:
        made = Made(text, LOCKS)
        for call in made:
            if isinstance(made.parents[call], ast.Assign) and made.parents[call] in made.tree.body:
                yield f"{file}:{call.lineno} {made.name_of(call)} may be held for ever in a forked child"


def _is_explained(lines, call):
    """Return whether a comment stands on the line or above it, or a docstring below."""
    above = lines[call.lineno - 2] if call.lineno > 1 else ""
    below = "".join(lines[call.end_lineno : call.end_lineno + 1])
    return "#" in lines[call.lineno - 1] or above.lstrip().startswith("#") or below.lstrip().startswith('"""')


def structure_faults(table, package=PACKAGE):
    for cells in table:
        [what], [file] = quoted(cells[0]), quoted(cells[1])
        owner, _, attribute = what.rpartition(".")
        tree = ast.parse((package / file).read_text(encoding="utf-8"))
        body = tree.body
        if owner:
            body = [node for node in body if isinstance(node, ast.ClassDef) and node.name == owner]
        wanted = f"self.{attribute}" if owner else attribute
        assigned = {
            ast.unparse(target)
            for part in body
            for node in (ast.walk(part) if owner else [part])
            for target in getattr(node, "targets", [getattr(node, "target", None)])
            if target is not None
        }
        if wanted not in assigned:
            yield f"{what} of {file} does not exist"


def test_each_thread_has_a_name_that_is_in_the_table():
    assert list(thread_faults(files(), rows("thread"))) == []


def test_each_lock_is_in_the_table_and_says_what_it_guards():
    assert list(lock_faults(files(), rows("lock, event or latch"))) == []


def test_each_lock_of_a_module_is_free_in_a_forked_child():
    assert list(fork_faults(files())) == []
    assert len(list(fork_faults([("a.py", "import threading\n_lock = threading.Lock()")]))) == 1


def test_each_structure_that_threads_share_without_a_lock_exists():
    table = rows("structure")
    assert list(structure_faults(table)) == []
    assert all(cells[2] and cells[3] for cells in table)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("threading.Thread(target=f).start()", "thread named None"),
        ("threading.Thread(target=f, name='woolexec-other').start()", "thread named woolexec-other"),
        ("timer = threading.Timer(1, f)", "thread named None"),
    ],
)
def test_a_thread_that_is_not_in_the_table_is_named(source, fault):
    known = [["`woolexec-engine`", "`a.py`"]]
    engine = "threading.Thread(name='woolexec-engine')\n"
    assert list(thread_faults([("a.py", engine)], known)) == []
    [found] = thread_faults([("a.py", engine + source)], known)
    assert fault in found


@pytest.mark.parametrize(
    ("source", "count"),
    [
        ("other = Lock()  # guards it", 1),
        ("other = threading.Event()", 2),
        ("kept = Lock()", 1),
        ("class A:\n    def wait(self):\n        Latch().wait()  # forever", 1),
    ],
)
def test_a_lock_that_is_not_in_the_table_or_says_nothing_is_named(source, count):
    known = [["`kept`", "`a.py`"]]
    kept = 'kept = Lock()\n"""Guards nothing."""\nx = 1\n\n\n'
    assert list(lock_faults([("a.py", kept)], known)) == []
    assert len(list(lock_faults([("a.py", kept + source)], known))) == count


def test_a_row_without_its_thread_or_lock_is_named():
    known = [["`gone`", "`a.py`"]]
    assert len(list(thread_faults([("a.py", "")], known))) == 1
    assert len(list(lock_faults([("a.py", "")], known))) == 1


def test_a_structure_that_is_gone_is_named(tmp_path):
    (tmp_path / "a.py").write_text("table = {}\nclass A:\n    def __init__(self):\n        self.line: list = []\n")
    known = [["`table`", "`a.py`"], ["`A.line`", "`a.py`"], ["`A.gone`", "`a.py`"], ["`line`", "`a.py`"]]
    assert list(structure_faults(known, tmp_path)) == ["A.gone of a.py does not exist", "line of a.py does not exist"]


# -- at run time ------------------------------------------------------------------------------------------------------

FOREIGN = ("MainThread", "asyncio_*", "Dummy-*", "Thread-* (_poll_wrapper)")
"""Threads of Python, of asyncio and of grpc."""


def strangers(names):
    known = [name for cells in rows("thread") for name in quoted(cells[0])]
    return sorted(name for name in names if not any(fnmatch.fnmatchcase(name, row) for row in (*known, *FOREIGN)))


def names_here():
    return {thread.name for thread in threading.enumerate()}


def names_in_worker():
    return names_here()


async def names_beside_a_coroutine():
    return names_here()


def names_beside_a_generator():
    yield names_here()


def test_threads_that_run_have_names_of_the_table():
    before = names_here()
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer, local=1) as pool:
        done = pool.submit(names_in_worker)
        done.add_done_callback(lambda _: None)
        found = [done.result(60), pool.submit(names_beside_a_coroutine).result(60)]
        with pool.stream(names_beside_a_generator) as stream:
            found += stream
        here = names_here() - before
    assert strangers(here) == []
    assert {"woolexec-engine", "woolexec-callbacks"} <= here
    assert [strangers(names) for names in found] == [[], [], []]
    assert "woolexec-asyncio" in found[1]
    assert any(name.startswith("woolexec-stream-") for name in found[2])
