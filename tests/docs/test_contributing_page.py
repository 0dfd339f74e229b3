"""The files and commands that CONTRIBUTING.md and the Makefile name exist."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
# Names of files to add are examples.
PATHS = [path for path in dict.fromkeys(re.findall(r"[`=]([\w.-]+/[\w./-]+)", TEXT)) if "yours" not in path]

in_a_clone = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="beside the wheel there are only the tests")


@in_a_clone
@pytest.mark.parametrize("path", PATHS)
def test_named_file_exists(path):
    assert (ROOT / path).exists()


@in_a_clone
def test_tests_that_the_makefile_names_exist():
    named = set(re.findall(r"tests/[\w./]+\.py", (ROOT / "Makefile").read_text(encoding="utf-8")))
    assert named
    assert [path for path in sorted(named) if not (ROOT / path).exists()] == []


@in_a_clone
def test_named_make_targets_exist():
    targets = set(re.findall(r"^([\w-]+):(?!=)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    named = [line.split("#")[0] for line in re.findall(r"^make (.+)$", TEXT, re.MULTILINE)]
    named += re.findall(r"`make ([^`]+)`", TEXT)
    words = {word for line in named for word in re.sub(r'\w+=("[^"]*"|\S*)', "", line).split()}
    assert {"venv", "test", "lint"} <= words
    assert words - targets == set()


@in_a_clone
def test_nearly_each_module_is_tested_by_the_file_that_has_its_name():
    package = ROOT / "woolexec"
    modules = [path.relative_to(package) for path in package.rglob("[!_]*.py") if not path.stem.endswith("_pb2")]
    without = [path for path in modules if not (ROOT / "tests" / path.parent / f"test_{path.name}").exists()]

    assert len(modules) > 100
    assert len(without) <= 10, sorted(map(str, without))
