"""No wait between a client and its peers uses the system clock, which may be wrong or be changed."""

import ast
import importlib.util
from pathlib import Path

PACKAGE = Path(importlib.util.find_spec("woolexec").submodule_search_locations[0])

WALL = {
    "discovery/base.py": "when a record was signed: one that is too old is left out at once",
    "mesh/client/doctor.py": "compares the clocks of both ends, for people",
    "mesh/security/certificate_authority.py": "from when a new certificate is valid",
    "mesh/security/handshake.py": "tells it to doctor",
    "mesh/security/self_signed.py": "dates that have no end",
    "mesh/security/tls.py": "whether a certificate is valid: one that is not is an error at once",
    "mesh/server/answer.py": "when a call began, for the audit log",
    "mesh/server/audit_log.py": "what it writes",
}
"""The files of the rooms below that read it, and what for."""

ROOMS = ("core", "discovery", "mesh", "wire")
READERS = {"time", "time_ns", "datetime", "localtime", "gmtime", "clock_gettime", "clock_gettime_ns"}


def reads_it(file):
    """Whether a module uses a function that reads the clock on the wall."""
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module in ("time", "datetime"):
            if READERS & {alias.name for alias in node.names}:
                return True
        elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "time":
            if node.attr in READERS:
                return True
        elif isinstance(node, ast.Import) and any(alias.name == "datetime" for alias in node.names):
            return True
    return False


def test_clock_on_the_wall_is_read_where_nobody_waits():
    files = [file for room in ROOMS for file in (PACKAGE / room).rglob("*.py")]
    assert len(files) > 100
    assert sorted(file.relative_to(PACKAGE).as_posix() for file in files if reads_it(file)) == sorted(WALL)
