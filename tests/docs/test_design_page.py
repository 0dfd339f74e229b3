"""The statements of docs/design.md about files and their contents are true."""

import importlib.util
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "design.md"
PACKAGE = Path(importlib.util.find_spec("woolexec").submodule_search_locations[0])
ROOTS = PACKAGE, PAGE.parents[1]
ROW = re.compile(r"^\| \d+ \| `([\w/-]+\.py)` \|", re.MULTILINE)
SOURCES = [path.read_text(encoding="utf-8") for path in PACKAGE.rglob("*.py")]
TEXT = PAGE.read_text(encoding="utf-8")


def test_layout_names_every_file_and_no_other():
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and "__pycache__" not in path.parts
    }
    assert set(ROW.findall(TEXT)) == files


def is_defined(name):
    """Return whether a class of the package has a method or an attribute, as in `Class.method`."""
    kind, member = name.split(".")
    defined = rf"(?:async )?def {member}\b|    self\.{member}(?:: .+?)? = "
    head = re.compile(rf"^class {kind}\b(?:.|\n(?!\w))*?\n    (?:{defined})", re.MULTILINE)
    return any(head.search(source) for source in SOURCES)


def test_methods_and_attributes_that_the_page_names_exist():
    named = set(re.findall(r"`([A-Z]\w+\.\w+)`", TEXT))
    assert len(named) > 10
    assert [name for name in sorted(named) if not is_defined(name)] == []


def test_files_that_the_page_names_exist():
    named = set(re.findall(r"`([\w/]+\.py)`", TEXT))
    assert [name for name in sorted(named) if not any((root / name).exists() for root in ROOTS)] == []
