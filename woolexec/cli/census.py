"""
Count lines, functions and classes in a library's source files: the job that ``woolexec demo`` runs in its workers.

This module imports nothing from woolexec, so that a worker that runs it imports nothing else.
"""

from __future__ import annotations

import ast
import os
import warnings
from dataclasses import dataclass
from pathlib import Path

# Folders below the standard library's that are not part of it, such as that of installed packages.
NOT_THE_LIBRARY = {"site-packages", "dist-packages", "__pycache__"}
KEPT = 5

_BRANCHES = (
    ast.If,
    ast.IfExp,
    ast.For,
    ast.AsyncFor,
    ast.While,
    ast.ExceptHandler,
    ast.Assert,
    ast.comprehension,
    ast.match_case,
)


@dataclass(frozen=True, slots=True)
class Function:
    """One function: its location and its number of lines."""

    lines: int
    name: str
    file: str
    line: int


@dataclass(frozen=True, slots=True)
class Measures:
    """The counts of one file; ``error`` if Python's parser refuses it, as it does some files of the test suite."""

    file: str
    lines: int
    functions: int = 0
    classes: int = 0
    complexity: int = 0
    longest: tuple[Function, ...] = ()
    error: str | None = None


def measure(root: str, file: str) -> Measures:
    """
    Parse one source file and count.

    Complexity is McCabe's number summed over the file: one for each function, and one for each branch.
    """
    source = Path(root, file).read_bytes()
    lines = source.count(b"\n") + (not source.endswith(b"\n") and source != b"")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about invalid escapes, in tests of such escapes
            tree = ast.parse(source)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        return Measures(file, lines, error=f"{type(error).__name__}: {error}")

    functions: list[Function] = []
    classes = complexity = 0
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            length = (node.end_lineno or node.lineno) - node.lineno + 1
            functions.append(Function(length, node.name, file, node.lineno))
        elif isinstance(node, ast.ClassDef):
            classes += 1
        elif isinstance(node, ast.BoolOp):
            complexity += len(node.values) - 1
        elif isinstance(node, _BRANCHES):
            complexity += 1
    longest = sorted(functions, key=by_length)[:KEPT]
    return Measures(file, lines, len(functions), classes, complexity + len(functions), tuple(longest))


def find_sources(root: Path) -> list[str]:
    """List the library's source files, relative to its folder, and read each once."""
    found = []
    for folder, folders, names in os.walk(root):
        folders[:] = sorted(name for name in folders if name not in NOT_THE_LIBRARY)
        for name in sorted(names):
            if name.endswith(".py"):
                path = Path(folder, name)
                path.read_bytes()
                found.append(str(path.relative_to(root)))
    return found


def by_length(function: Function) -> tuple[int, str, int]:
    return -function.lines, function.file, function.line
