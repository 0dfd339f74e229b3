"""Start peers on this machine for the duration of a ``with`` block."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from typing import TYPE_CHECKING

from woolexec.engine.fork_server import import_path
from woolexec.errors import PeerStartError

if TYPE_CHECKING:
    from woolexec.mesh.security.credentials import Credentials


@contextlib.contextmanager
def local_peers(count: int, workers: int) -> Iterator[tuple[list[str], Credentials]]:
    """
    Start `count` peers with `workers` workers each; end them after the block.

    :return: their addresses, and the credentials to connect with
    :raises PeerStartError: if one of them does not start
    """
    from woolexec.mesh.security.credentials import Credentials
    from woolexec.mesh.security.tokens import new_token

    token = new_token()
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="woolexec-"))  # 0700
        where = [f"unix:{folder}/{n}" for n in range(count)]
        peers = [stack.enter_context(local_peer(bind, workers, token.decode())) for bind in where]
        yield [address_of(peer) for peer in peers], Credentials(token)


def address_of(peer: subprocess.Popen[bytes]) -> str:
    """
    Wait until a peer is ready; return its address.

    :raises PeerStartError: if it does not start
    """
    assert peer.stdout is not None
    try:
        address: str = json.loads(peer.stdout.readline())["address"]
    except ValueError as exc:
        raise PeerStartError(f"a peer did not start: it ended with exit code {peer.wait()}") from exc
    return address


@contextlib.contextmanager
def local_peer(bind: str, workers: int, token: str | None, *more: str) -> Iterator[subprocess.Popen[bytes]]:
    """
    Start one peer; end it after the block.

    :param token: what clients must have; None: anyone on this host may use the peer
    :param more: further settings of ``woolexec serve``
    """
    settings = [
        f"--bind={bind}",
        f"--workers={workers}",
        "--insecure" if token is None else "--token-file=-",
        "--lifeline",
        "--json",
        "--log-level=warning",
    ]
    # With this process's import path: woolexec may be in one file (pex, shiv), where `python -m woolexec` fails.
    code = f"import sys; sys.path[:] = {import_path()!r}; from woolexec.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", code, "serve", *settings, *more]
    with subprocess.Popen(command, stdin=-1, stdout=-1, start_new_session=True) as peer:  # no Ctrl-C for the peer
        assert peer.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # it has ended, which `address_of` reports
            peer.stdin.write(b"" if token is None else f"{token}\n".encode())
            peer.stdin.flush()
        try:
            yield peer
        finally:
            with contextlib.suppress(BrokenPipeError):
                peer.stdin.close()  # with --lifeline this ends the peer
            peer.wait()
