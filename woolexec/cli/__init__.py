"""The ``woolexec`` command."""

from __future__ import annotations

import argparse
import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

INTERRUPTED = 130
"""What a shell reports for a command that Ctrl-C ended: 128 + SIGINT."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        code: int = options.run(options)
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="woolexec", description="Run Python calls on all cores of this machine.")
    commands = parser.add_subparsers(title="commands", metavar="COMMAND", required=True)

    demo = commands.add_parser(
        "demo", help="parse the standard library's sources in the pool, and time it", description=_DEMO
    )
    demo.add_argument("--workers", type=_positive, metavar="N", help="worker processes (default: the usable CPUs)")
    demo.add_argument("--limit", type=_positive, metavar="N", help="only N files, taken evenly from the list")
    demo.add_argument("--json", action="store_true", help="print the figures as JSON")
    demo.set_defaults(run=_demo)

    serve = commands.add_parser(
        "serve", help="be a peer: run the tasks of other processes", description=_SERVE, epilog=_SETTINGS
    )
    from woolexec.cli.serve import SETTINGS
    from woolexec.cli.serve import run as run_serve

    for setting in SETTINGS:
        setting.add_to(serve)
    serve.add_argument("--config", metavar="FILE", help="TOML file with settings")
    serve.set_defaults(run=run_serve)

    version = commands.add_parser("version", help="print the versions of woolexec and Python")
    version.set_defaults(run=_version)
    return parser


_DEMO = (
    "Parse every source file of the running Python's standard library in a PeerPoolExecutor, show what is in there, "
    "and time the same job on a ProcessPoolExecutor and serially."
)


_SERVE = (
    "Run the tasks of other processes in workers of this one, until SIGTERM. They reach it with "
    "PeerPoolExecutor(peers='HOST:PORT')."
)

_SETTINGS = (
    "Each setting may also stand in the environment (--drain-timeout is WOOLEXEC_DRAIN_TIMEOUT) or in the TOML file "
    "that --config or WOOLEXEC_CONFIG names (drain-timeout). An argument wins over the environment, that over the file."
)


def _demo(options: argparse.Namespace) -> int:
    from woolexec.cli import demo

    return demo.run(workers=options.workers, limit=options.limit, as_json=options.json)


def _version(_options: argparse.Namespace) -> int:
    import platform
    from importlib.metadata import version

    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"woolexec {version('woolexec')} ({python}, {sys.platform})")
    return 0


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a positive number")
    return value
