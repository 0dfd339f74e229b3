"""
Hosts with separate addresses: network namespaces joined by a bridge.

::

    bridge (no address here)
      |-- veth -- host 1   10.x.y.1
      |-- veth -- host 2   10.x.y.2
      '-- veth -- host 3   10.x.y.3
"""

import contextlib
import functools
import itertools
import json
import os
import shutil
import subprocess
import sys

LONG = 60.0

counter = itertools.count()


def ip(*arguments):
    subprocess.run(["ip", *arguments], check=True, capture_output=True)


@functools.cache
def namespaces_work():
    """Return whether this process may make hosts, on a kernel that can join them."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        return False
    try:
        with joined(1) as (host,):
            ip("netns", "exec", host.name, "true")
    except subprocess.CalledProcessError:
        return False
    return True


class Host:
    def __init__(self, name, bridge, address):
        self.name, self.bridge, self.address = name, bridge, address
        self.port = f"{name}v"

    def __enter__(self):
        ip("netns", "add", self.name)
        try:
            self._connect()
        except BaseException:
            self.__exit__()
            raise
        return self

    def _connect(self):
        ip("link", "add", self.port, "type", "veth", "peer", "name", "eth0", "netns", self.name)
        ip("link", "set", self.port, "master", self.bridge, "up")
        ip("-n", self.name, "addr", "add", f"{self.address}/24", "dev", "eth0")
        for link in ("lo", "eth0"):
            ip("-n", self.name, "link", "set", link, "up")
        ip("-n", self.name, "route", "add", "default", "dev", "eth0")

    def __exit__(self, *exc_info):
        ip("netns", "del", self.name)

    def cut(self):
        ip("link", "set", self.port, "down")

    def mend(self):
        ip("link", "set", self.port, "up")

    def command(self, *arguments):
        return ["ip", "netns", "exec", self.name, sys.executable, *arguments]

    @contextlib.contextmanager
    def serving(self, *arguments, **environment):
        command = self.command("-m", "woolexec", "serve", "--workers", "1", "--json", *arguments)
        env = {**os.environ, **environment}
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as process:
            try:
                yield process, json.loads(process.stdout.readline())
            finally:
                process.kill()

    def run(self, script, *arguments, patience=LONG, **environment):
        ran = subprocess.run(
            self.command("-c", script, *arguments),
            env={**os.environ, **environment},
            capture_output=True,
            text=True,
            timeout=patience,
            check=False,
        )
        assert ran.returncode == 0, ran.stderr
        return ran.stdout.split()


@contextlib.contextmanager
def joined(count):
    """Make this number of hosts."""
    number = os.getpid() % 600 * 100 + next(counter)  # the kernel takes its time to forget the last ones
    bridge = f"wx{number}"
    with contextlib.ExitStack() as stack:
        ip("link", "add", bridge, "type", "bridge")
        stack.callback(ip, "link", "del", bridge)
        ip("link", "set", bridge, "up")
        subnet = f"10.{100 + number // 250 % 100}.{number % 250}"
        yield [stack.enter_context(Host(f"{bridge}h{n}", bridge, f"{subnet}.{n}")) for n in range(1, count + 1)]
