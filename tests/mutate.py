"""
Plant flaws in the core and the engine, one at a time, and see which test fails: ``make mutate``.

1. Places are chosen with a fixed seed, as many of each kind: a comparison flipped, a number changed, a statement
   removed, a condition negated.  Each place has a number made of the seed and of what stands there, and the lowest are
   chosen, so a change of the code changes the choice only there.
2. Each flaw is planted in a copy of the tree.  The tests of that module run first, then wider ones, until one fails;
   that test must fail again with the flaw, and pass without it.
3. ``tests/mutations.md`` is written: the place, the flaw, the test that failed, and a digest of the file as it was.  A
   flaw that no test sees needs a reason, which is written into the table by hand and kept by later runs.

``make mutate ARGS="--only 3 7"`` plants the flaws of these numbers; ``ARGS=--changed`` those that were not tried with
the file as it is now; ``ARGS=--list`` plants none and lists them.
"""

from __future__ import annotations

import argparse
import ast
import contextlib
import copy
import hashlib
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
PAGE = ROOT / "tests" / "mutations.md"
PACKAGES = ["woolexec/core", "woolexec/engine"]
SEED = 16
PLACES = 30
LIMIT = 900.0  # seconds for the tests of one flaw, if nothing else is said
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
    digest: str  # of the file
    number: int = 1  # among those that are the same in the same function

    @property
    def key(self) -> tuple[str, str]:
        """What names it in the table; lines move, and are not part of it."""
        return f"`{self.file.removeprefix('woolexec/')}` `{self.function}`", self.described

    @property
    def described(self) -> str:
        described = f"{self.kind}: `{shortened(self.before)}`" + (f" → `{shortened(self.after)}`" if self.after else "")
        return described if self.number == 1 else f"{described}, no. {self.number}"

    def rank(self, seed: int) -> bytes:
        """Return what decides whether it is chosen; other flaws and lines play no part in it."""
        return hashlib.blake2b(repr((seed, *self.key)).encode(), digest_size=8).digest()

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
        self.digest = hashlib.blake2b(source.encode(), digest_size=4).hexdigest()
        self.names: list[str] = []
        self.found: list[Flaw] = []
        self._same: Counter[tuple[str, str]] = Counter()

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
        if any(isinstance(target, ast.Name) and target.id == "TYPE_CHECKING" for target in node.targets):
            return  # what it guards is imported for types alone
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
            names = ".".join(self.names) or "module"
            flaw = Flaw(kind, self.file, node.lineno, names, before, after, start, end, self.digest)
            self._same[flaw.key] += 1
            self.found.append(replace(flaw, number=self._same[flaw.key]))

    def _text(self, start: tuple[int, int], end: tuple[int, int]) -> str:
        """Return what stands there; `ast.get_source_segment` splits the whole source each time."""
        lines = self.lines[start[0] - 1 : end[0]]
        lines[-1] = lines[-1][: end[1]]
        lines[0] = lines[0][start[1] :]
        return b"".join(lines).decode()


def places_in(file: str, source: str) -> list[Flaw]:
    finder = Finder(file, source)
    finder.visit(ast.parse(source))
    return finder.found


def all_places() -> list[Flaw]:
    paths = [path for package in PACKAGES for path in (ROOT / package).glob("*.py")]
    files = {str(path.relative_to(ROOT)): path.read_text(encoding="utf-8") for path in paths}
    return [flaw for file, source in files.items() for flaw in places_in(file, source)]


def chosen(places: list[Flaw], number: int, seed: int) -> list[Flaw]:
    """Choose as many places of each kind, and list them in the order of the files."""
    ranked = sorted(places, key=lambda flaw: flaw.rank(seed))
    of_kind = {kind: iter([flaw for flaw in ranked if flaw.kind == kind]) for kind in KINDS}
    taken = [next(of_kind[KINDS[n % len(KINDS)]]) for n in range(number)]
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
        """
        Run these tests until one fails, and return its name.

        :raises TimeoutError: if they have not ended after `limit` seconds, each of them taking less than its own limit
        """
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
            raise TimeoutError from None
        if ran.returncode in (0, 5):  # passed, or nothing to run
            return None
        failed = FAILED.search(output)
        return failed[1] if failed else f"{tests[0]} ended the run with exit code {ran.returncode}"


def stages(flaw: Flaw) -> list[list[str]]:
    """List which tests run for this flaw, in this order, each once."""
    folder, name = flaw.file.removeprefix("woolexec/").split("/")
    mirror = f"tests/{folder}/test_{name}"
    first = [[mirror]] if (ROOT / mirror).exists() else []
    return [*first, [f"tests/{folder}"], *WIDER]


def verdict_on(flaw: Flaw, tree: Tree, jobs: str, limit: float) -> Verdict:
    started = time.monotonic()
    unfit: list[str] = []
    for tests in stages(flaw):
        while (left := started + limit - time.monotonic()) > 0:
            spread = ["-n", jobs, "--dist", "loadfile"] if len(tests) > 1 or not tests[0].endswith(".py") else []
            try:
                with tree.with_flaw(flaw):
                    failed = tree.first_failure(tests, left, *spread, *(f"--deselect={test}" for test in unfit))
            except TimeoutError:  # the tests of the module alone take seconds
                failed = None if spread else "the run did not end"
            if failed is None:
                break
            if "::" not in failed or is_due_to(flaw, failed, tree):
                return Verdict(flaw, failed, time.monotonic() - started)
            unfit.append(failed)
    return Verdict(flaw, None, time.monotonic() - started)


def is_due_to(flaw: Flaw, failed: str, tree: Tree) -> bool:
    """Return whether a test that has failed fails again with this flaw, and passes without it."""
    with contextlib.suppress(TimeoutError):
        if tree.first_failure([failed], LIMIT, "--slow") is None:
            with tree.with_flaw(flaw):
                return tree.first_failure([failed], LIMIT, "--slow") is not None
    return False


# -- the table ---------------------------------------------------------------------------------------------------------

ROW = re.compile(r"^\| (?P<place>.+?):\d+ \| (?P<flaw>.+?) \| (?P<seen>.+) \| (?P<digest>\w+) \|$", re.MULTILINE)
OPEN = "**no test failed; the reason is missing**"


class Row(NamedTuple):
    seen: str
    digest: str

    def is_of(self, flaw: Flaw) -> bool:
        """Return whether the flaw was tried with the file as it is now."""
        return self.digest == flaw.digest


Rows = dict[tuple[str, str], Row]


def earlier_rows() -> Rows:
    if not PAGE.exists():
        return {}
    found = ROW.finditer(PAGE.read_text(encoding="utf-8"))
    return {(row["place"], row["flaw"]): Row(row["seen"], row["digest"]) for row in found}


def line_of(flaw: Flaw, row: Row) -> str:
    place, described = flaw.key
    return f"| {place}:{flaw.line} | {described} | {row.seen} | {row.digest} |\n"


def seen_by(verdict: Verdict, earlier: Row | None) -> str:
    if verdict.failed is not None:
        return f"`{verdict.failed.replace('|', chr(92) + '|')}`"
    return earlier.seen if earlier is not None and not earlier.seen.startswith("`") else OPEN


def write(flaws: list[Flaw], rows: Rows, seed: int) -> None:
    tried = [flaw for flaw in flaws if flaw.key in rows]
    caught = sum(rows[flaw.key].seen.startswith("`") for flaw in tried)
    PAGE.write_text(
        "# Which test fails when a flaw is planted?\n\n"
        "Written by `make mutate` (`tests/mutate.py`); the reasons in the third column are written by hand.\n"
        f"{len(flaws)} places in `woolexec/core` and `woolexec/engine`, chosen with the seed {seed}; "
        f"{len(tried)} of them were tried, and a test failed for {caught}.\n"
        "The last column is a digest of the file with which the flaw was tried; "
        "`make mutate ARGS=--list` says which files have changed since, and `ARGS=--changed` tries their flaws again.\n"
        "`TYPE_CHECKING = False` is no place: what it guards is imported for types alone.\n\n"
        "| place | flaw | test that failed, or why none can | file |\n| --- | --- | --- | --- |\n"
        + "".join(line_of(flaw, rows[flaw.key]) for flaw in tried),
        encoding="utf-8",
    )


def state_of(flaw: Flaw, rows: Rows) -> str:
    row = rows.get(flaw.key)
    return "not tried" if row is None else "tried" if row.is_of(flaw) else "tried before the file changed"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.mutate", description=(__doc__ or "").split("\n\n")[0])
    parser.add_argument("--places", type=int, default=PLACES, help="how many flaws are planted (default: %(default)s)")
    parser.add_argument("--seed", type=int, default=SEED, help="chooses the places (default: %(default)s)")
    parser.add_argument("--only", type=int, nargs="+", metavar="N", help="plant the flaws of these numbers only")
    parser.add_argument("--changed", action="store_true", help="plant those not tried with the file as it is now only")
    parser.add_argument("--list", action="store_true", help="list the flaws and plant none")
    parser.add_argument("--jobs", default="2", help="processes for the wider tests (default: %(default)s)")
    parser.add_argument(
        "--limit", type=float, default=LIMIT, help="seconds for the tests of one flaw (default: %(default)g)"
    )
    options = parser.parse_args()
    flaws = chosen(all_places(), options.places, options.seed)
    rows = earlier_rows()
    if options.list:
        for number, flaw in enumerate(flaws, 1):
            print(f"{number:3} {flaw.file}:{flaw.line} {flaw.function}: {flaw.described} ({state_of(flaw, rows)})")
        return 0
    with tempfile.TemporaryDirectory(prefix="mutate-") as folder:
        tree = Tree(folder)
        for number, flaw in enumerate(flaws, 1):
            if options.only and number not in options.only:
                continue
            if options.changed and state_of(flaw, rows) == "tried":
                continue
            verdict = verdict_on(flaw, tree, options.jobs, options.limit)
            rows[flaw.key] = Row(seen_by(verdict, rows.get(flaw.key)), flaw.digest)
            print(f"{number:3} {flaw.file}:{flaw.line} {flaw.described}")
            print(f"    {verdict.failed or 'no test failed'} ({verdict.seconds:.0f} s)", flush=True)
            write(flaws, rows, options.seed)
    return 1 if any(rows[flaw.key].seen == OPEN for flaw in flaws if flaw.key in rows) else 0


if __name__ == "__main__":
    sys.exit(main())
