"""
Check that every type that users see is known; ``make types`` runs it.

pyright counts each module without an underscore as public; what users import is what ``woolexec`` and
``woolexec.discovery`` export, so only the modules that define those names are held to it.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import woolexec

SCRIPTS = Path(sys.executable).parent


def main() -> int:
    """Print each symbol whose type a checker would have to guess; return the exit code."""
    ran = subprocess.run(
        [SCRIPTS / "pyright", "--verifytypes", "woolexec", "--ignoreexternal", "--outputjson"],
        # pyright takes the interpreter that it finds first.
        env={**os.environ, "PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}"},
        stdout=subprocess.PIPE,
        text=True,
        check=False,
    )
    report = json.loads(ran.stdout)["typeCompleteness"]
    if not report.get("pyTypedPath"):
        print("pyright finds no woolexec with a py.typed")
        return 1
    modules = {getattr(getattr(woolexec, name), "__module__", "woolexec") for name in woolexec.__all__}
    modules.add("woolexec.discovery")
    seen = [symbol for symbol in report["symbols"] if symbol["isExported"] and _module(symbol["name"]) in modules]
    unknown = [symbol for symbol in seen if not symbol["isTypeKnown"] or symbol["isTypeAmbiguous"]]
    for symbol in unknown:
        print(symbol["name"], *(diagnostic["message"] for diagnostic in symbol["diagnostics"]), sep="\n    ")
    print(f"{len(seen)} public symbols in {', '.join(sorted(modules))}: {len(unknown)} with a type that is not known")
    return 1 if unknown or not seen else 0


def _module(symbol: str) -> str:
    """Return the module part of a dotted name: up to the last part that is a file, or a package."""
    top, parts = Path(woolexec.__file__).parents[1], symbol.split(".")
    while len(parts) > 1 and not any((top / "/".join(parts)).with_suffix(end).exists() for end in (".py", "")):
        parts.pop()
    return ".".join(parts)


if __name__ == "__main__":
    raise SystemExit(main())
