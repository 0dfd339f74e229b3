"""What docs/design.md says about files holds."""

import importlib.util
import re
from pathlib import Path

PAGE = Path(__file__).parents[2] / "docs" / "design.md"
PACKAGE = Path(importlib.util.find_spec("woolexec").submodule_search_locations[0])
ROW = re.compile(r"^\| \d+ \| `([\w/]+\.py)` \|", re.MULTILINE)


def test_layout_names_every_file_and_no_other():
    files = {
        path.relative_to(PACKAGE).as_posix()
        for path in PACKAGE.rglob("*.py")
        if path.name != "__init__.py" and "__pycache__" not in path.parts
    }
    assert set(ROW.findall(PAGE.read_text(encoding="utf-8"))) == files
