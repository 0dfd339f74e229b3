"""Each Python snippet of README and docs runs unchanged, as a separate script in a new interpreter."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
FENCE = re.compile(r"^```(?:python|py|pycon)\b[^\n]*\n(.*?)^```", re.MULTILINE | re.DOTALL)

BAR = re.compile(r"\d+/\d+ \(\d+%\) in ")
"""What `woolexec.bar` writes where there is no terminal."""


ELSEWHERE = ('peers="slurm:', 'peers="k8s:', "ray.init(")
"""What needs an engine that hands out machines: tests/launchers has the same with one."""


def missing_in(source):
    """Return the libraries that a snippet imports and that are not installed."""
    named = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Import | ast.ImportFrom)]
    modules = {alias.name for node in named if isinstance(node, ast.Import) for alias in node.names}
    modules |= {node.module for node in named if isinstance(node, ast.ImportFrom)}
    doors = {"woolexec.joblib": "joblib", "woolexec.eventkit": "eventkit"}
    roots = {doors.get(module, module).partition(".")[0] for module in modules}
    roots |= {"httpx2"} if "starlette.testclient" in modules else set()
    return sorted(root for root in roots if importlib.util.find_spec(root) is None)


def snippets():
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for match in FENCE.finditer(text):
            if any(each in match[1] for each in ELSEWHERE):
                continue
            line = text.count("\n", 0, match.start()) + 1
            # Those of the README run with `make test`, all others with `make test-slow`.
            marks = [] if page.name == "README.md" else [pytest.mark.slow, pytest.mark.versions]
            if missing := missing_in(match[1]):
                marks.append(pytest.mark.skip(reason=f"not installed: {', '.join(missing)}"))
            yield pytest.param(page, line, match[1], id=f"{page.relative_to(ROOT)}:{line}", marks=marks)


@pytest.mark.parametrize(("page", "line", "source"), list(snippets()))
def test_snippet_runs_as_it_stands(page, line, source, tmp_path):
    script = tmp_path / "snippet.py"
    # So that a traceback shows the line of the page.
    script.write_text("\n" * line + source, encoding="utf-8")
    ran = subprocess.run(
        [sys.executable, "-W", "error", str(script)],
        cwd=tmp_path,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.returncode == 0, f"{page}:{line}\n{ran.stdout}\n{ran.stderr}"
    assert [line for line in ran.stderr.splitlines() if not BAR.search(line)] == []


def links():
    for page in PAGES:
        for target in dict.fromkeys(re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text(encoding="utf-8"))):
            if "://" not in target:
                yield pytest.param(page, target, id=f"{page.relative_to(ROOT)}->{target}")


@pytest.mark.parametrize(("page", "target"), list(links()))
def test_link_leads_somewhere(page, target):
    assert (page.parent / target).exists()
