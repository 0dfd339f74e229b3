"""
Plant flaws in the core and the engine, one at a time, and see which test fails: ``make mutate``.

1. Places are chosen with a fixed seed, as many of each kind: a comparison flipped, a number changed, a statement
   removed, a condition negated.
2. Each flaw is planted in a copy of the tree.  The tests of that module run first, then wider ones, until one fails;
   that test must pass without the flaw.
3. ``tests/mutations.md`` is written: the place, the flaw, and the test that failed.  A flaw that no test sees needs a
   reason, which is written into the table by hand and kept by later runs.

``make mutate ARGS="--only 3 7"`` plants the flaws of these numbers; ``ARGS=--list`` plants none and lists them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "tests" / "mutations.md"
PACKAGES = ["woolexec/core", "woolexec/engine"]
SEED = 16
PLACES = 30
LIMIT = 900.0  # seconds for the tests of one flaw
# After the tests of the module and of its folder: those that fail soonest, first.
WIDER = [
    ["tests/core", "tests/engine", "tests/worker", "tests/futures"],
    ["tests/test_executor.py", "tests/faults/test_worker_death.py", "tests/faults/test_timeouts.py"],
    ["tests/api", "tests/aio", "tests/faults"],
    ["tests/mesh", "tests/sim", "tests/conformance", "tests/cli", "tests/discovery"],
]
FLIPPED = {
    ast.Eq: ast.NotEq,
    ast.NotEq: ast.Eq,
    ast.Lt: ast.GtE,
    ast.GtE: ast.Lt,
    ast.Gt: ast.LtE,
    ast.LtE: ast.Gt,
    ast.Is: ast.IsNot,
    ast.IsNot: ast.Is,
    ast.In: ast.NotIn,
    ast.NotIn: ast.In,
}
KINDS = ["comparison flipped", "constant changed", "statement removed", "condition negated"]
FAILED = re.compile(r"^(?:FAILED|ERROR) (tests/\S+?\.py(?:::.+?)?)(?: - .*)?$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Flaw:
    kind: str
    file: str
    line: int
    function: str
    before: str
    after: str
    start: tuple[int, int]
    end: tuple[int, int]

    @property
    def key(self) -> tuple[str, str]:
        """What names it in the table; lines move, and are not part of it."""
        return f"`{self.file.removeprefix('woolexec/')}` `{self.function}`", self.described

    @property
    def described(self) -> str:
        return f"{self.kind}: `{shortened(self.before)}`" + (f" → `{shortened(self.after)}`" if self.after else "")

    def planted(self, source: str) -> str:
        """Return the source with this flaw in it; columns of `ast` are bytes."""
        lines = source.encode().splitlines(keepends=True)
        (first, begin), (last, end) = self.start, self.end
        head, tail = lines[first - 1][:begin], lines[last - 1][end:]
        lines[first - 1 : last] = [head + (self.after or "pass").encode() + tail]
        return b"".join(lines).decode()


@dataclass(frozen=True, slots=True)
class Verdict:
    flaw: Flaw
    failed: str | None
    seconds: float


def shortened(text: str) -> str:
    text = " ".join(text.split()).replace("|", r"\|")
    return text if len(text) <= 70 else text[:67] + "..."


# -- choosing ----------------------------------------------------------------------------------------------------------


class Finder(ast.NodeVisitor):
    """Finds all places in a module where a flaw can be planted."""

    def __init__(self, file: str, source: str) -> None:
        self.file = file
        self.lines = source.encode().splitlines(keepends=True)
        self.names: list[str] = []
        self.found: list[Flaw] = []

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self._inside(node.name, node.body)

    def visit_FunctionDef(self, node: ast.FunctionDef | ast.AsyncFunctionDef) -> None:
        if node.name == "__repr__":
            return
        for default in [*node.args.defaults, *filter(None, node.args.kw_defaults)]:
            self.visit(default)
        self._inside(node.name, node.body)

    visit_AsyncFunctionDef = visit_FunctionDef

    def _inside(self, name: str, body: list[ast.stmt]) -> None:
        self.names.append(name)
        for statement in body:
            self.visit(statement)
        self.names.pop()

    def visit_AnnAssign(self, node: ast.AnnAssign) -> None:
        if node.value is not None:
            self.visit(node.value)  # not the annotation

    def visit_Assert(self, node: ast.Assert) -> None:
        """Leave it: what it states is never false."""

    def visit_Compare(self, node: ast.Compare) -> None:
        if len(node.ops) == 1:
            flipped = copy.deepcopy(node)
            flipped.ops = [FLIPPED[type(node.ops[0])]()]
            self._add("comparison flipped", node, ast.unparse(flipped))
        self.generic_visit(node)

    def visit_Constant(self, node: ast.Constant) -> None:
        if isinstance(node.value, bool):
            self._add("constant changed", node, str(not node.value))
        elif isinstance(node.value, int | float):
            self._add("constant changed", node, repr(node.value + 1))

    def visit_UnaryOp(self, node: ast.UnaryOp) -> None:
        if not isinstance(node.operand, ast.Constant):  # -1 is one number
            self.generic_visit(node)

    def visit_Expr(self, node: ast.Expr) -> None:
        if isinstance(node.value, ast.Call | ast.Await):
            self._add("statement removed", node, "")
        self.generic_visit(node)

    def visit_Assign(self, node: ast.Assign) -> None:
        # The loss of a local name is an error at once, and of a name of the module at import.
        if all(isinstance(target, ast.Attribute | ast.Subscript) for target in node.targets) and self.names:
            self._add("statement removed", node, "")
        self.generic_visit(node)

    def visit_AugAssign(self, node: ast.AugAssign) -> None:
        self._add("statement removed", node, "")
        self.generic_visit(node)

    def visit_Delete(self, node: ast.Delete) -> None:
        self._add("statement removed", node, "")

    def visit_If(self, node: ast.If | ast.While | ast.IfExp) -> None:
        if not (isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING"):
            if not isinstance(node.test, ast.Compare | ast.Constant):  # those are flipped and changed
                self._add("condition negated", node.test, f"(not ({ast.unparse(node.test)}))")
            self.generic_visit(node)

    visit_While = visit_IfExp = visit_If

    def visit_BoolOp(self, node: ast.BoolOp) -> None:
        swapped = copy.deepcopy(node)
        swapped.op = ast.And() if isinstance(node.op, ast.Or) else ast.Or()
        self._add("condition negated", node, f"({ast.unparse(swapped)})")
        self.generic_visit(node)

    def _add(self, kind: str, node: ast.expr | ast.stmt, after: str) -> None:
        start, end = (node.lineno, node.col_offset), (node.end_lineno or 0, node.end_col_offset or 0)
        before = self._text(start, end)
        if (before, after) != ("", ""):
            flaw = Flaw(kind, self.file, node.lineno, ".".join(self.names) or "module", before, after, start, end)
            self.found.append(flaw)

    def _text(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """Return what stands there; `ast.get_source_segment` splits the whole source each time."""
        lines = self.lines[start[0] - 1 : end[0]]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        return b"".join(lines).decode()


def all_places() -> list[Flaw]:
    found = []
    for package in PACKAGES:
        for path in sorted((ROOT / package).glob("*.py")):
            source = path.read_text(encoding="utf-8")
            finder = Finder(str(path.relative_to(ROOT)), source)
            finder.visit(ast.parse(source))
            found += finder.found
    return found


def chosen(number: int, seed: int) -> list[Flaw]:
    """Choose as many places of each kind, and list them in the order of the files."""
    random = Random(seed)
    of_kind = {kind: [flaw for flaw in all_places() if flaw.kind == kind] for kind in KINDS}
    for flaws in of_kind.values():
        random.shuffle(flaws)
    taken = [of_kind[KINDS[n % len(KINDS)]].pop() for n in range(number)]
    return sorted(taken, key=lambda flaw: (flaw.file, flaw.start))


# -- planting ----------------------------------------------------------------------------------------------------------


class Tree:
    """A copy of the tree in which flaws are planted."""

    def __init__(self, folder: str) -> None:
        self.path = Path(folder) / "tree"
        ignored = shutil.ignore_patterns(".*", "__pycache__", "dist", "build")
        shutil.copytree(ROOT, self.path, ignore=ignored)
        self.environment = {**os.environ, "PYTHONPATH": str(self.path), "PYTHONDONTWRITEBYTECODE": "1"}
        where = subprocess.check_output(
            [sys.executable, "-c", "import woolexec; print(woolexec.__file__)"],
            cwd=self.path,
            env=self.environment,
            text=True,
        )
        if not where.startswith(str(self.path)):
            raise RuntimeError(f"the copy of the tree is not what Python imports, but {where.strip()}")

    @contextlib.contextmanager
    def with_flaw(self, flaw: Flaw) -> Iterator[None]:
        file = self.path / flaw.file
        source = file.read_text(encoding="utf-8")
        flawed = flaw.planted(source)
        compile(flawed, flaw.file, "exec")
        file.write_text(flawed, encoding="utf-8")
        try:
            yield
        finally:
            file.write_text(source, encoding="utf-8")

    def first_failure(self, tests: list[str], limit: float, *options: str) -> str | None:
        """Run these tests until one fails, and return its name; a run that does not end has failed as well."""
        command = [sys.executable, "-m", "pytest", "-x", "-q", "-rfE", "--tb=no", "-p", "no:cacheprovider"]
        ran = subprocess.Popen(
            [*command, "--timeout=30", *options, *tests],
            cwd=self.path,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )
        try:
            output, _ = ran.communicate(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(ran.pid, signal.SIGKILL)
            ran.communicate()
            return "the run did not end"
        if ran.returncode in (0, 5):  # passed, or nothing to run
            return None
        failed = FAILED.search(output)
        return failed[1] if failed else f"pytest ended with {ran.returncode}"


def stages(flaw: Flaw) -> list[list[str]]:
    """List which tests run for this flaw, in this order, each once."""
    folder, name = flaw.file.removeprefix("woolexec/").split("/")
    mirror = f"tests/{folder}/test_{name}"
    first = [[mirror]] if (ROOT / mirror).exists() else []
    return [*first, [f"tests/{folder}"], *WIDER]


def verdict_on(flaw: Flaw, tree: Tree, jobs: str) -> Verdict:
    started = time.monotonic()
    unfit: list[str] = []
    for tests in stages(flaw):
        while (left := started + LIMIT - time.monotonic()) > 0:
            spread = ["-n", jobs, "--dist", "loadfile"] if len(tests) > 1 or not tests[0].endswith(".py") else []
            with tree.with_flaw(flaw):
                failed = tree.first_failure(tests, left, *spread, *(f"--deselect={test}" for test in unfit))
            if failed is None:
                break
            # A test that fails without the flaw as well says nothing.
            if "::" not in failed or tree.first_failure([failed], LIMIT, "--slow") is None:
                return Verdict(flaw, failed, time.monotonic() - started)
            unfit.append(failed)
    return Verdict(flaw, None, time.monotonic() - started)


# -- the table ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| (?P<place>.+?):\d+ \| (?P<flaw>.+?) \| (?P<seen>.+) \|$", re.MULTILINE)
OPEN = "**no test failed; the reason is missing**"


def earlier_rows() -> dict[tuple[str, str], str]:
    if not PAGE.exists():
        return {}
    return {(row["place"], row["flaw"]): row["seen"] for row in ROW.finditer(PAGE.read_text(encoding="utf-8"))}


def row(flaw: Flaw, seen: str) -> str:
    place, described = flaw.key
    return f"| {place}:{flaw.line} | {described} | {seen} |"


def seen_by(verdict: Verdict, earlier: str | None) -> str:
    if verdict.failed is not None:
        return f"`{verdict.failed.replace('|', chr(92) + '|')}`"
    return earlier if earlier is not None and not earlier.startswith("`") else OPEN


def write(flaws: list[Flaw], rows: dict[tuple[str, str], str], seed: int) -> None:
    tried = [flaw for flaw in flaws if flaw.key in rows]
    caught = sum(rows[flaw.key].startswith("`") for flaw in tried)
    PAGE.write_text(
        "# Which test fails when a flaw is planted?\n\n"
        "Written by `make mutate` (`tests/mutate.py`); the reasons in the last column are written by hand.\n"
        f"{len(flaws)} places in `woolexec/core` and `woolexec/engine`, chosen with the seed {seed}; "
        f"{len(tried)} of them were tried, and a test failed for {caught}.\n\n"
        "| place | flaw | test that failed, or why none can |\n| --- | --- | --- |\n"
        + "".join(row(flaw, rows[flaw.key]) + "\n" for flaw in tried),
        encoding="utf-8",
    )


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--places", type=int, default=PLACES, help="how many flaws are planted (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="chooses the places (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="plant the flaws of these numbers only")
    parser.add_argument("--list", action="store_true", help="list the flaws and plant none")
    parser.add_argument("--jobs", default="2", help="processes for the wider tests (default: %(default)s)")
    options = parser.parse_args()
    flaws = chosen(options.places, options.seed)
    rows = earlier_rows()
    if options.list:
        for number, flaw in enumerate(flaws, 1):
            print(f"{number:3} {flaw.file}:{flaw.line} {flaw.function}: {flaw.described}")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree = Tree(folder)
        for number, flaw in enumerate(flaws, 1):
            if options.only and number not in options.only:
                continue
            verdict = verdict_on(flaw, tree, options.jobs)
            rows[flaw.key] = seen_by(verdict, rows.get(flaw.key))
            print(f"{number:3} {flaw.file}:{flaw.line} {flaw.described}")
            print(f"    {verdict.failed or 'no test failed'} ({verdict.seconds:.0f} s)", flush=True)
            write(flaws, rows, options.seed)
    return 1 if any(seen == OPEN for seen in rows.values()) else 0


if __name__ == "__main__":
    sys.exit(main())
