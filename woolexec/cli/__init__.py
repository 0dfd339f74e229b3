"""The ``woolexec`` command."""

from __future__ import annotations

import argparse
import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

INTERRUPTED = 130
"""Exit code that a shell reports for a command that Ctrl-C ended: 128 + SIGINT."""

UNREAD = 141
"""Exit code that a shell reports for a command whose output pipe was closed: 128 + SIGPIPE."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command; return its exit code."""
    options = parser().parse_args(arguments)
    try:
        code: int = options.run(options)
        sys.stdout.flush()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:  # the reader closed the pipe; discard the rest of the buffer
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return UNREAD
    return code


def parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(
        prog="woolexec", description="Run Python calls in pools of worker processes and on peers."
    )
    parser.add_argument("--version", action="store_const", const=_version, dest="run", help=_VERSION)
    parser.set_defaults(run=lambda _: _help(parser))
    commands = parser.add_subparsers(title="commands", metavar="COMMAND")

    demo = commands.add_parser(
        "demo", help="parse the standard library's sources in a pool and time it", description=_DEMO
    )
    demo.add_argument("--workers", type=_positive, metavar="N", help="worker processes (default: the usable CPUs)")
    demo.add_argument("--limit", type=_positive, metavar="N", help="parse only N files (default: all)")
    demo.add_argument("--peers", type=_positive, default=0, metavar="N", help="use N local peers (default: 0)")
    demo.add_argument("--timeline", metavar="PAGE", help="write the timeline of the run to this HTML file")
    demo.add_argument("--json", action="store_true", help="print the figures as JSON")
    demo.set_defaults(run=_demo)

    serve = commands.add_parser(
        "serve", help="run a peer, which runs the tasks of other processes", description=_SERVE, epilog=_SETTINGS
    )
    from woolexec.cli.serve_settings import SETTINGS

    for setting in SETTINGS:
        setting.add_to(serve)
    serve.add_argument("--config", metavar="FILE", help="TOML file with settings")
    serve.set_defaults(run=_of("serve"))

    _add_peers(commands)
    _add_stack(commands)
    _add_top(commands)
    _add_certs(commands)
    _add_timeline(commands)

    version = commands.add_parser("version", help=_VERSION)
    version.set_defaults(run=_version)

    from woolexec.cli import completion

    script = commands.add_parser("completion", help="print a completion script for a shell", description=_COMPLETION)
    script.add_argument("shell", choices=completion.SHELLS, help="the shell")
    script.set_defaults(run=lambda options: completion.run(options, parser))
    return parser


def _of(module: str, name: str = "run") -> Callable[[argparse.Namespace], int]:
    """Return a function that runs a command and imports its module only then, to keep the start short."""

    def run(options: argparse.Namespace) -> int:
        code: int = getattr(import_module(f"woolexec.cli.{module}"), name)(options)
        return code

    return run


def _help(parser: argparse.ArgumentParser) -> int:
    parser.print_help()
    return 0


def _add_peers(commands: Any) -> None:
    listing = commands.add_parser("peers", help="find and list peers", description=_PEERS)
    listing.add_argument(
        "where", nargs="*", metavar="WHERE", help="as peers= of PeerPoolExecutor (default: local:// lan://)"
    )
    listing.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="to look for peers (default: 2)")
    listing.add_argument("--json", action="store_true", help="print the peers as JSON")
    listing.set_defaults(run=_of("peers"))

    doctor = commands.add_parser("doctor", help="check each step of connecting to a peer", description=_DOCTOR)
    doctor.add_argument("where", nargs="+", metavar="WHERE", help="as peers= of PeerPoolExecutor")
    doctor.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="to look for peers (default: 2)")
    doctor.add_argument("--brief", action="store_true", help="print only failures, for example in a container's probe")
    doctor.set_defaults(run=_of("peers", "doctor"))


def _add_timeline(commands: Any) -> None:
    parser = commands.add_parser("timeline", help="make a page of a trace file", description=_TIMELINE)
    parser.add_argument("trace", metavar="TRACE", help="the file that was given to pool.trace")
    parser.add_argument("-o", "--output", metavar="PAGE", help="the page (default: TRACE with .html)")
    parser.set_defaults(run=_of("timeline"))


def _add_stack(commands: Any) -> None:
    parser = commands.add_parser("stack", help="print the stacks of running tasks", description=_STACK)
    parser.add_argument("where", metavar="ADDRESS|PID", help="a peer; a process that has a pool, or a worker")
    parser.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="for answers (default: 2)")
    parser.add_argument("--json", action="store_true", help="print the stacks as JSON")
    parser.set_defaults(run=_of("stack"))


def _add_top(commands: Any) -> None:
    parser = commands.add_parser("top", help="show what pools on this machine, and peers, are doing", description=_TOP)
    parser.add_argument("where", nargs="*", metavar="PID|ADDRESS", help="processes and peers (default: all pools)")
    parser.add_argument("--json", action="store_true", help="print the statistics as JSON")
    parser.add_argument("--once", action="store_true", help="print the tables once and exit")
    parser.add_argument(
        "--web", action="store_true", help="print the URLs of the pools' pages, and serve a page of each peer"
    )
    parser.add_argument("--timeout", type=float, default=2.0, metavar="SECONDS", help="for answers (default: 2)")
    parser.set_defaults(run=_of("top"))


def _add_certs(commands: Any) -> None:
    parser = commands.add_parser("certs", help="make certificates for peers and clients", description=_CERTS)
    parser.set_defaults(run=_of("certs"))
    actions = parser.add_subparsers(title="actions", metavar="ACTION", required=True)
    init = actions.add_parser("init", help="create a certificate authority")
    issue = actions.add_parser("issue", help="issue or renew a certificate")
    issue.add_argument("role", choices=("peer", "client", "operator"), help="the role of its owner")
    for action, act in ((init, "init"), (issue, "issue")):
        action.add_argument(
            "--folder", default="woolexec-certs", metavar="FOLDER", help="folder of the files (default: woolexec-certs)"
        )
        name, days = ("woolexec", 3650) if action is init else ("none", 397)
        action.add_argument("--name", metavar="NAME", help=f"name of the owner (default: {name})")
        action.add_argument("--days", type=_positive, metavar="N", help=f"days of validity (default: {days})")
        action.set_defaults(act=_of("certs", act))
    revoke = actions.add_parser("revoke", help="make peers and clients refuse certificates from now on")
    revoke.add_argument(
        "which", nargs="+", metavar="WHICH", help="the file of a certificate, or a serial number in hex"
    )
    revoke.add_argument(
        "--folder", default="woolexec-certs", metavar="FOLDER", help="folder of the authority (default: woolexec-certs)"
    )
    revoke.set_defaults(act=_of("certs", "revoke"))
    token = actions.add_parser("token", help="make a token, for peers and clients without certificates")
    token.add_argument("--file", metavar="FILE", help="write it to this new file instead of printing it")
    token.set_defaults(act=_of("certs", "token"))
    show = actions.add_parser("show", help="print the contents of a certificate")
    show.add_argument("file", metavar="FILE")
    show.set_defaults(act=_of("certs", "show"))


_PEERS = "Find peers, ask each for its properties, and list them; print the reason if a peer cannot be used."

_DOCTOR = (
    "Try each step that a client takes to connect to peers, and print what to do if a step fails. "
    "Credentials are taken from WOOLEXEC_TOKEN_FILE, WOOLEXEC_TLS_CA, _CERT and _KEY, or are the token of this user."
)

_STACK = (
    "Print the stack of each running task, without stopping it. At a peer this needs the certificate of an operator "
    "(woolexec certs issue operator), or the peer's Unix socket and its user; credentials are taken as by doctor. A "
    "process must be one of this user on this machine: a program with a pool, a peer, or a worker."
)

_TOP = (
    "Show the statistics() of pools of this user on this machine. Only pools with a dashboard are found: made with "
    "dashboard=, or in a program with WOOLEXEC_DASHBOARD in its environment. In a terminal the view is updated until q "
    "is pressed; this needs the rich package: pip install 'woolexec[top]'. What a peer does for its clients is shown "
    "to operators, as by stack."
)

_CERTS = (
    "Create a private certificate authority, and certificates with which peers and clients on several hosts "
    "authenticate each other. This needs the cryptography package: pip install 'woolexec[certs]'."
)

_TIMELINE = (
    "Make one HTML file from a trace that PeerPoolExecutor.trace has written: a timeline with a lane for each worker. "
    "It needs no other file and no network. Perfetto (ui.perfetto.dev) and chrome://tracing can open TRACE."
)

_COMPLETION = (
    'Print a completion script for this command. bash: eval "$(woolexec completion bash)" in ~/.bashrc; '
    'zsh: eval "$(woolexec completion zsh)" in ~/.zshrc; fish: woolexec completion fish | source in config.fish.'
)

_VERSION = "print the versions of woolexec and Python"

_DEMO = (
    "Parse every source file of the running Python's standard library in a PeerPoolExecutor, print statistics "
    "and a timeline, and time the same job on a ProcessPoolExecutor and serially."
)


_SERVE = (
    "Run the tasks of other processes in workers of this one, until SIGTERM. These processes connect with "
    "PeerPoolExecutor(peers='HOST:PORT')."
)

_SETTINGS = (
    "Each setting may also be given in the environment (--drain-timeout is WOOLEXEC_DRAIN_TIMEOUT; --tls-cert, "
    "--tls-key and --tls-ca are WOOLEXEC_SERVE_TLS_CERT and so on, because WOOLEXEC_TLS_CERT is a client's) or in the "
    "TOML file that --config or WOOLEXEC_CONFIG names (drain-timeout). An argument overrides the environment, and the "
    "environment overrides the file."
)


def _demo(options: argparse.Namespace) -> int:
    from woolexec.cli import demo

    return demo.run(
        workers=options.workers,
        limit=options.limit,
        peers=options.peers,
        as_json=options.json,
        timeline=options.timeline,
    )


def _version(_options: argparse.Namespace) -> int:
    import platform
    from importlib.metadata import version

    python = f"{platform.python_implementation()} {platform.python_version()}"
    print(f"woolexec {version('woolexec')} ({python}, {sys.platform})")
    return 0


def _positive(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and int(text)):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number above 0")
    return int(text)
