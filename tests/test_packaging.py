"""Checks of pyproject.toml, the Makefile and .ci: Python versions, dependencies, and how the tests run."""

import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]

in_a_clone = pytest.mark.skipif(not (ROOT / "Makefile").exists(), reason="beside the wheel there are only the tests")


def all_requirements():
    extras = [each for group in PROJECT["optional-dependencies"].values() for each in group]
    return [each for each in PROJECT["dependencies"] + extras if not each.startswith("woolexec")]


def test_every_dependency_has_a_floor_or_a_pin():
    assert [each for each in all_requirements() if not re.search(r">=|==", each)] == []


def test_users_get_no_upper_bound():
    # One is added when something is known to break, and says what.
    assert [each for each in PROJECT["dependencies"] if re.search(r"<|==|~=", each)] == []


@in_a_clone
def test_lowest_versions_are_those_of_the_floors():
    done = subprocess.run(
        [sys.executable, str(ROOT / ".ci" / "lowest")],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    lowest = dict(line.split("==") for line in done.stdout.split())
    for each in PROJECT["dependencies"]:
        name, _, floor = each.partition(">=")
        assert lowest[name] == floor
    assert {"cryptography", "dnspython", "numpy", "trio"} <= lowest.keys()


@in_a_clone
def test_every_supported_python_is_found_by_make_and_tested():
    minors = [each.rsplit(" ", 1)[1] for each in PROJECT["classifiers"] if re.search(r":: 3\.\d+$", each)]
    oldest, *between, newest = minors
    assert PROJECT["requires-python"] == f">={oldest}"
    pythons, run = ((ROOT / ".ci" / name).read_text() for name in ("pythons", "run"))
    assert [minor for minor in minors if f"python{minor}" not in pythons] == []
    assert f"oldest={oldest} newest=${{NEWEST_PYTHON:-{newest}}}" in run
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert [minor for minor in between if f'"{minor}"' not in workflow] == []


@in_a_clone
@pytest.mark.skipif(shutil.which("make") is None, reason="needs make")
def test_make_test_says_how_long_it_takes_and_hears_ctrl_c(tmp_path):
    for stamp in (".run", ".test"):
        (tmp_path / stamp).touch()
    done = subprocess.run(
        ["make", "--dry-run", "test", f"VENV={tmp_path}"],
        cwd=ROOT,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
    )
    before, _, command = done.stdout.partition("timeout ")
    assert re.search(r"take \d+ to \d+ minutes", before)
    # Without it the tests are no foreground process group, and Ctrl-C does not reach them.
    assert command.startswith("--foreground ")


@in_a_clone
def test_slow_tests_are_run_before_a_change_goes_in():
    run = (ROOT / ".ci" / "run").read_text()
    here = re.findall(r' (test|test-slow) VENV=(\S+)(?: LOWEST=1| JOBS=\d)?(?: SLOW="(.+?)")?$', run, re.MULTILINE)
    there = re.findall(r' on_newest (test|test-slow)(?: SLOW="(.+?)")?$', run, re.MULTILINE)
    assert set(here) == {
        ("test", ".venv-$oldest", ""),
        ("test-slow", ".venv-$oldest", ""),
        ("test-slow", ".venv-lowest", "not (slow or once) or versions"),
    }
    assert there == [("test-slow", "not (slow or once) or versions")]
