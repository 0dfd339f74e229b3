"""Peers that tests start with the command line."""

import contextlib
import json
import subprocess
import sys

from woolexec.mesh.security.certificate_authority import Authority

PATIENCE = 20.0


@contextlib.contextmanager
def serving(*arguments, first=None, bind=("--bind", "127.0.0.1:0"), **options):
    command = [sys.executable, "-m", "woolexec", "serve", *bind, "--workers", "1", "--json"]
    with subprocess.Popen([*command, *arguments], stdout=subprocess.PIPE, text=True, **options) as process:
        try:
            if first is not None:
                process.stdin.write(first)
                process.stdin.flush()
            yield process, json.loads(process.stdout.readline())
        finally:
            if process.poll() is None:
                process.kill()


def run_serve(*arguments, **options):
    command = [sys.executable, "-m", "woolexec", "serve", "--workers", "1", *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False, **options)


def certificates(folder):

    authority = Authority.make(folder, name="the tests' own")
    for role in ("peer", "client"):
        authority.issue(role)
    return {name: str(folder / name) for name in ("ca.pem", "peer.pem", "peer.key", "client.pem", "client.key")}
