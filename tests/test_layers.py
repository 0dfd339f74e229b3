"""
The layers of the package: a file imports only from rows above its own and from its own folder.

The graph is read from the sources with `ast`, so imports inside functions and under ``TYPE_CHECKING`` count as well.
Importing a package runs its ``__init__``, which sits in the package's own row.
"""

import ast
import functools
import importlib.util
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

PACKAGE = Path(importlib.util.find_spec("woolexec").submodule_search_locations[0])
TESTS = Path(__file__).parent

ROWS = {
    "base_error": 0,
    "errors": 0,
    "broken_pool": 0,
    "checks": 0,
    "options": 0,
    "resources": 0,
    "class_attributes": 0,
    "imported": 0,
    "printable": 0,
    "task_progress": 0,
    "platform": 0,
    "cpus": 1,
    "statistics": 1,
    "tables": 0,
    "room": 1,
    "core": 1,
    "wire": 2,
    "futures": 3,
    "worker": 4,
    "engine": 5,
    "mesh.grpc_module": 6,
    "mesh.security": 7,
    "discovery": 8,
    "mesh": 9,
    "data": 10,
    "actors": 10,
    "graphs": 10,
    "observe": 10,
    "api": 11,
    "executor": 12,
    "cli": 13,
    "integrations": 13,
    "launchers": 13,
    "mpi": 13,
    "testing": 13,
    "joblib": 14,
    "eventkit": 14,
    "metrics": 14,
    "__main__": 14,
}
"""By folder, or by a part of it that has a row of its own."""

# The face of the package re-exports any row, and only the last ones may import from it.
FACE = "__init__"
MAY_IMPORT_THE_FACE = 13

# Each third-party package has one door. "lazily": only inside functions or under TYPE_CHECKING.
DOORS = {
    "cloudpickle": (
        "wire.by_value_pickler",
        "wire.arrivals",
        "wire.classes",
        "wire.foreign_classes",
        "wire.main_module",
        "wire.mapped_classes",
    ),
    "google": ("wire.wire_pb2", "mesh"),
    "grpc": ("mesh.grpc_module",),
    "zeroconf": ("discovery.lan",),
    "backports": ("mesh.link.compression",),
    "compression": ("mesh.link.compression",),
    "lz4": ("mesh.link.compression",),
    "anyio": ("futures.loop_waiters", "discovery", "mesh", "api.map_async"),
    "cryptography": ("mesh.security.certificate_authority", "mesh.security.self_signed"),
    "dns": ("discovery.dns",),
    "ifaddr": ("discovery.lan",),
    "numpy": ("wire.plain_data",),
    "trio": ("worker.trio_lane",),
    "opentelemetry": ("wire.tracing", "observe.otel_metrics", "metrics"),
    "joblib": ("integrations.joblib_backend",),
    "rich": ("integrations.bar", "cli.top_live"),
    "mpi4py": ("mpi",),
    "ray": ("launchers.ray_nodes",),
    "kubernetes": ("launchers.kubernetes_client",),
    "aiohttp": ("launchers.kubernetes_client",),
    "threadpoolctl": ("integrations.joblib_tasks",),
    "eventkit": ("eventkit",),
    "prometheus_client": ("observe.prometheus", "observe.metrics_server", "metrics"),
    "starlette": ("observe.dashboard",),
    "uvicorn": ("observe.dashboard",),
    "PyInstaller": ("integrations.pyinstaller.hook-woolexec",),
}
LAZY = {"grpc", "zeroconf", "anyio", "cryptography", "dns", "ifaddr", "numpy", "opentelemetry", "rich"}

# What only `woolexec.platform` may use: it does not exist on every operating system, or works otherwise there.
PLATFORM = "platform"
PLATFORM_MODULES = {"_posixshmem", "_posixsubprocess", "_signal", "_socket", "fcntl", "grp", "mmap", "posix", "pwd"}
PLATFORM_MODULES |= {"resource", "select", "selectors", "termios"}
PLATFORM_NAMES = {
    "os": """
        O_ASYNC O_CLOEXEC O_DIRECTORY O_NOFOLLOW O_NONBLOCK O_PATH O_TMPFILE P_PID P_PIDFD PRIO_PGRP PRIO_PROCESS
        PRIO_USER WEXITED WNOHANG WNOWAIT WUNTRACED
        chown copy_file_range dup3 eventfd fchmod fchown fork forkpty getegid geteuid getgid getloadavg getpgid getpgrp
        getpriority getsid getuid kill killpg memfd_create mkfifo nice pidfd_open pipe pipe2 posix_spawn posix_spawnp
        pread preadv pwrite pwritev readv register_at_fork sched_getaffinity sched_setaffinity sched_setscheduler
        sched_yield sendfile setgid setpgid setpgrp setpriority setsid setuid splice statvfs sysconf uname unshare wait
        wait3 wait4 waitid waitpid waitstatus_to_exitcode writev
    """,
    "signal": """
        SIGALRM SIGCHLD SIGCONT SIGHUP SIGIO SIGKILL SIGPIPE SIGQUIT SIGSTOP SIGTSTP SIGURG SIGUSR1 SIGUSR2 SIG_BLOCK
        SIG_SETMASK SIG_UNBLOCK alarm pause pidfd_send_signal pthread_kill pthread_sigmask set_wakeup_fd setitimer
        siginterrupt sigpending sigwait
    """,
    "socket": """
        AF_UNIX CMSG_LEN CMSG_SPACE MSG_CMSG_CLOEXEC MSG_CTRUNC MSG_DONTWAIT MSG_NOSIGNAL MSG_PEEK SCM_CREDENTIALS
        SCM_RIGHTS SOCK_CLOEXEC SOCK_NONBLOCK SOCK_SEQPACKET SO_PEERCRED SO_REUSEPORT recv_fds send_fds socketpair
    """,
}
PLATFORM_PATHS = ("/dev/", "/proc/", "/sys/")


@dataclass(frozen=True)
class Import:
    importer: str  # "engine.worker_process", without the package's name
    imported: str  # absolute
    line: int
    lazy: bool
    modules: frozenset[str]  # every file of the package

    def __str__(self):
        return f"{self.importer}:{self.line} imports {self.imported}"

    @property
    def inside(self):
        """The part after ``woolexec``, or None for a third party."""
        head, _, rest = self.imported.partition(".")
        return rest if head == "woolexec" else None

    @property
    def beside(self):
        """Whether both are files of the top folder, which is then the "own folder" of both."""
        return "." not in self.importer and f"{self.inside.split('.')[0]}.__init__" not in self.modules

    @property
    def folder(self):
        return part_of(self.importer)


def part_of(module):
    """Return what has a row that this module belongs to."""
    while module not in ROWS and "." in module:
        module = module.rpartition(".")[0]
    return module


def modules(package):
    for path in sorted(package.rglob("*.py")):
        yield ".".join(path.relative_to(package).with_suffix("").parts), path


@functools.cache
def tree_of(path):
    return ast.parse(path.read_bytes())


@pytest.fixture(scope="module", autouse=True)
def _trees_do_not_stay():
    yield
    tree_of.cache_clear()  # millions of objects, over which each later collection of garbage would pass


def imports(package=PACKAGE):
    files = dict(modules(package))
    found = []
    for name, path in files.items():
        visitor = Visitor(name, frozenset(files))
        visitor.visit(tree_of(path))
        found += visitor.found
    return found


class Visitor(ast.NodeVisitor):
    def __init__(self, importer, files):
        self.importer = importer
        self.modules = files
        self.lazy = False
        self.found = []

    def visit_Import(self, node):
        for alias in node.names:
            self.add(alias.name, node.lineno)

    def visit_ImportFrom(self, node):
        base = node.module or ""
        if node.level:
            above = ["woolexec", *self.importer.split(".")][: -node.level]
            base = ".".join([*above, *([node.module] if node.module else [])])
        for alias in node.names:
            whole = f"{base}.{alias.name}"
            # `from woolexec.core import window` names a module, `from woolexec.errors import X` a thing in one.
            inside = whole.removeprefix("woolexec.")
            self.add(whole if {inside, f"{inside}.__init__"} & self.modules else base, node.lineno)

    def add(self, imported, line):
        self.found.append(Import(self.importer, imported, line, self.lazy, self.modules))

    def later(self, node):
        was, self.lazy = self.lazy, True
        self.generic_visit(node)
        self.lazy = was

    visit_FunctionDef = visit_AsyncFunctionDef = later

    def visit_If(self, node):
        if "TYPE_CHECKING" in ast.unparse(node.test):
            self.later(node)
        else:
            self.generic_visit(node)


def row_faults(found):
    for one in found:
        if one.inside is None or one.importer == FACE:
            continue
        row = ROWS.get(one.folder)
        if one.inside == "":
            if row is None or row < MAY_IMPORT_THE_FACE:
                yield f"{one}: the face of the package stands below it"
            continue
        other = part_of(one.inside)
        if row is None or other not in ROWS:
            yield f"{one}: which row is that? Add it to ROWS"
        elif other != one.folder and not ROWS[other] < row and not (ROWS[other] == row and one.beside):
            yield f"{one}: row {row} may not know row {ROWS[other]}"


def door_faults(found):
    for one in found:
        package = one.imported.split(".")[0]
        if package in DOORS:
            if not any(one.importer == door or one.importer.startswith(f"{door}.") for door in DOORS[package]):
                yield f"{one}: its door is {' or '.join(DOORS[package])}"
            elif package in LAZY and not one.lazy:
                yield f"{one}: only inside a function, so that local pools start without it"
        elif package != "woolexec" and package not in sys.stdlib_module_names:
            yield f"{one}: not a dependency"


def platform_faults(package=PACKAGE):
    """Name each use of a primitive outside of the platform's folder; imports for types alone are none."""
    for name, path in modules(package):
        if part_of(name) == PLATFORM:
            continue
        visitor = Uses(name)
        visitor.visit(tree_of(path))
        yield from visitor.found


class Uses(ast.NodeVisitor):
    """Where a module uses what only the platform's folder may use."""

    def __init__(self, module):
        self.module = module
        self.found = []

    def add(self, node, what):
        self.found.append(f"{self.module}:{node.lineno} uses {what}: it belongs in woolexec.platform")

    def visit_If(self, node):
        if "TYPE_CHECKING" in ast.unparse(node.test):
            for child in node.orelse:
                self.visit(child)
        else:
            self.generic_visit(node)

    def visit_Import(self, node):
        for alias in node.names:
            if alias.name in PLATFORM_MODULES:
                self.add(node, alias.name)

    def visit_ImportFrom(self, node):
        if node.module in PLATFORM_MODULES:
            self.add(node, node.module)
        for alias in node.names:
            self.check(node, node.module, alias.name)

    def visit_Attribute(self, node):
        self.check(node, ast.unparse(node.value), node.attr)
        self.generic_visit(node)

    def visit_Call(self, node):
        """Find `hasattr(os, "fork")` and `getattr(os, "fork")`."""
        if ast.unparse(node.func) in {"hasattr", "getattr"} and isinstance(node.args[1], ast.Constant):
            self.check(node, ast.unparse(node.args[0]), node.args[1].value)
        self.generic_visit(node)

    def visit_Constant(self, node):
        if isinstance(node.value, str) and node.value.startswith(PLATFORM_PATHS):
            self.add(node, node.value)

    def check(self, node, module, name):
        if name in PLATFORM_NAMES.get(module, "").split():
            self.add(node, f"{module}.{name}")


def circles(found):
    """Name the groups of modules that import each other in a circle; imports in functions and for types count too."""
    graph = {}
    for one in found:
        if one.inside and one.importer != FACE:
            graph.setdefault(one.importer.removesuffix(".__init__"), set()).add(one.inside)
    reached = {module: _reached(graph, module) for module in graph}
    groups = {frozenset(other for other in reached[module] if module in reached.get(other, ())) for module in graph}
    return sorted(" ".join(sorted(group)) for group in groups if group)


def _reached(graph, start):
    found, pending = set(), [start]
    while pending:
        new = graph.get(pending.pop(), set()) - found
        found |= new
        pending += new
    return found


def test_a_file_imports_only_from_rows_above_and_its_own_folder():
    assert list(row_faults(imports())) == []


def test_each_third_party_package_has_one_door():
    assert list(door_faults(imports())) == []


def test_only_the_platform_folder_uses_what_an_operating_system_may_lack():
    assert list(platform_faults()) == []


def test_the_platform_folder_uses_what_it_is_for():
    folder = Uses(PLATFORM)
    for name, path in modules(PACKAGE):
        if part_of(name) == PLATFORM:
            folder.visit(tree_of(path))
    used = {fault.split()[2].rstrip(":") for fault in folder.found}
    assert {"os.fork", "os.memfd_create", "os.killpg", "signal.SIGURG", "socket.SCM_RIGHTS", "fcntl", "mmap"} <= used


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        ("import os\nos.fork()", "os.fork"),
        ("from os import getppid, setsid", "os.setsid"),
        ("import os\ndef f():\n    return hasattr(os, 'pidfd_open')", "os.pidfd_open"),
        ("def f():\n    import fcntl", "fcntl"),
        ("from select import epoll", "select"),
        ("import signal\nx = [signal.SIGKILL, signal.SIGINT]", "signal.SIGKILL"),
        ("TYPE_CHECKING = False\nif TYPE_CHECKING:\n    import mmap\nelse:\n    import _socket", "_socket"),
        ("open('/proc/meminfo')", "/proc/meminfo"),
    ],
)
def test_a_primitive_outside_of_the_platform_folder_is_named(tmp_path, source, fault):
    for folder in ("engine", "platform"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "lane.py").write_text(source)
    [found] = platform_faults(tmp_path)
    assert found.startswith("engine.lane:")
    assert f"uses {fault}: " in found


def test_no_modules_import_each_other_in_a_circle():
    assert circles(imports()) == []


def test_what_runs_in_a_worker_is_never_the_engine():
    assert {one.inside.split(".")[0] for one in imports() if one.folder == "worker" and one.inside} <= {
        "errors",
        "imported",
        "options",
        "platform",
        "core",
        "wire",
        "futures",
        "worker",
    }


def test_every_folder_of_the_package_and_its_tests_is_a_package():
    for top in (PACKAGE, TESTS):
        folders = {path.parent for path in top.rglob("*.py")} - {top}
        assert [str(folder) for folder in folders if not (folder / "__init__.py").exists()] == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("core/window.py", "import woolexec.engine.worker_process", "row 1 may not know row 5"),
        ("core/window.py", "def f():\n    from woolexec.wire import payload", "row 1 may not know row 2"),
        ("worker/process.py", "from ..engine import worker_process", "row 4 may not know row 5"),
        ("wire/frames.py", "from woolexec import PeerPoolExecutor", "the face of the package"),
        ("testing.py", "from woolexec import cli", "row 13 may not know row 13"),
        ("strange.py", "import woolexec.errors", "which row"),
        ("engine/worker_process.py", "import cloudpickle", "its door is wire.by_value_pickler or wire.arrivals or"),
        ("worker/process.py", "def f():\n    import grpc", "its door is mesh.grpc_module"),
        ("mesh/grpc_module.py", "import grpc", "only inside a function"),
        ("core/window.py", "import pandas", "not a dependency"),
    ],
)
def test_a_wrong_import_is_named(tmp_path, module, source, fault):
    for name in ("engine/worker_process.py", "wire/payload.py", "cli/__init__.py", "executor.py", module):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
    (tmp_path / module).write_text(source)
    found = imports(tmp_path)
    faults = [*row_faults(found), *door_faults(found)]
    assert len(faults) == 1
    assert fault in faults[0]


def test_two_files_of_one_row_in_the_top_folder_may_know_each_other(tmp_path):
    (tmp_path / "options.py").touch()
    (tmp_path / "errors.py").write_text("import woolexec.options")
    assert list(row_faults(imports(tmp_path))) == []


def test_a_lazy_import_behind_its_door_is_fine(tmp_path):
    (tmp_path / "mesh").mkdir()
    (tmp_path / "mesh" / "grpc_module.py").write_text("def f():\n    import grpc.aio\n")
    assert list(door_faults(imports(tmp_path))) == []


@pytest.mark.parametrize(
    "back",
    [
        "from . import a",
        "def f():\n    from woolexec.core.a import x",
        "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from woolexec.core import a",
        "from woolexec.core import c",
    ],
)
def test_a_circle_is_named(tmp_path, back):
    (tmp_path / "core").mkdir()
    (tmp_path / "core" / "a.py").write_text("import woolexec.core.b")
    (tmp_path / "core" / "b.py").write_text(back)
    (tmp_path / "core" / "c.py").write_text("import woolexec.core.a")
    assert circles(imports(tmp_path)) == ["core.a core.b core.c" if back.endswith("c") else "core.a core.b"]
