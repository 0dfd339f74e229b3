"""A peer loads all modules of woolexec when it starts."""

import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import woolexec

FOLDERS = ("core", "engine", "mesh/link", "mesh/server", "wire")
ELSEWHERE = {
    "woolexec.engine.caller_output",  # of the caller's own engine
    "woolexec.engine.inputs",
    "woolexec.engine.slow_watch",
    "woolexec.engine.policy_guard",
    "woolexec.futures.kept_value",
    "woolexec.wire.bundle",  # for pickling, which a peer does not do
    "woolexec.wire.by_value",
    "woolexec.wire.foreign_classes",
    "woolexec.wire.lending",
    "woolexec.wire.arrivals",
    "woolexec.wire.code_objects",
    "woolexec.wire.main_module",
    "woolexec.wire.plain_results",
    "woolexec.worker.frozen",  # in a frozen program, before the first fork server
}


def imported_later():
    """The modules of ours that functions import."""
    root = Path(woolexec.__file__).parent
    for path in (path for folder in FOLDERS for path in (root / folder).glob("*.py")):
        text = re.sub(r"^if TYPE_CHECKING:\n(?:    .*\n|\n)+", "", path.read_text(), flags=re.MULTILINE)
        for module, names in re.findall(r"^ +from (woolexec\S*) import ([\w, ]+?)(?:  #.*)?$", text, re.MULTILINE):
            yield from filter(is_module, (module, *(f"{module}.{name}" for name in names.split(", "))))


def is_module(name):
    try:
        return importlib.util.find_spec(name) is not None
    except ModuleNotFoundError:
        return False


def test_a_peer_has_all_modules_when_it_serves():
    code = "import sys, woolexec.mesh.server.peer; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    later = set(imported_later())
    assert "woolexec.engine.stacks" in later
    assert later - ELSEWHERE <= set(loaded)
