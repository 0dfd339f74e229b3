"""
A substitute for ``ssh``: runs the command on this host, and forwards the Unix socket, like ``ssh -L here:there``.

``user@host`` tells what goes wrong: ``denied`` (no access), ``absent`` (no such command), ``silent`` (nobody answers).
"""

import contextlib
import os
import selectors
import shlex
import signal
import socket
import subprocess
import sys
import threading


def command():
    """Return the shell command that stands in for ``ssh``; its arguments follow."""
    return f'exec {shlex.join([sys.executable, __file__])} "$@"'


def pipe(one, other):
    while data := one.recv(65536):
        other.sendall(data)
    other.shutdown(socket.SHUT_WR)


def forward(listener, there):
    while True:
        near = listener.accept()[0]
        far = socket.socket(socket.AF_UNIX)
        try:
            far.connect(there)
        except OSError:
            near.close()
            continue
        for pair in ((near, far), (far, near)):
            threading.Thread(target=pipe, args=pair, daemon=True).start()


def main(arguments):
    dashes = arguments.index("--")
    host, command = arguments[dashes + 1 :]
    options = arguments[:dashes]
    here, _, there = options[options.index("-L") + 1].partition(":")
    if host == "denied":
        sys.exit("me@denied: Permission denied (publickey).")
    if host == "silent":
        signal.pause()
    if host == "absent":
        command = "exec no-such-woolexec"
    process = subprocess.Popen(["/bin/sh", "-c", command], start_new_session=True, stdin=subprocess.PIPE)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(here)
    listener.listen()
    threading.Thread(target=forward, args=(listener, there), daemon=True).start()
    with selectors.DefaultSelector() as ready:  # our end, however it comes, is the end of the command's stdin
        ready.register(0, selectors.EVENT_READ)
        while process.poll() is None:
            for _ in ready.select(0.02):
                data = os.read(0, 4096)
                if not data:
                    process.stdin.close()
                    process.wait()
                    break
                with contextlib.suppress(BrokenPipeError):  # it has just ended
                    process.stdin.write(data)
                    process.stdin.flush()
    os._exit(process.returncode)


if __name__ == "__main__":
    main(sys.argv[1:])
