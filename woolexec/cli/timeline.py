"""``woolexec timeline``: a page of a trace file."""

from __future__ import annotations

import argparse
import os
import sys


def run(options: argparse.Namespace) -> int:
    """Write the page; return the exit code."""
    output = options.output or f"{os.path.splitext(options.trace)[0]}.html"
    try:
        write_page(options.trace, output)
    except (OSError, ValueError) as exc:
        print(f"cannot make a timeline of {options.trace}: {exc}", file=sys.stderr)
        return 1
    print(output)
    return 0


def write_page(trace: str, output: str) -> None:
    """
    Write the page of a trace file.

    :raises OSError: if one of the files cannot be used
    :raises ValueError: if the first is not a trace file
    """
    from woolexec.observe.timeline import page_of

    with open(trace, encoding="utf-8") as lines:
        page = page_of(lines, os.path.basename(trace))
    with open(output, "w", encoding="utf-8") as file:
        file.write(page)
