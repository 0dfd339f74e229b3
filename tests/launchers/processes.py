"""A launcher of processes on this machine, as a user would write it."""

import asyncio
import contextlib
import itertools
import json
import subprocess
import sys
from dataclasses import dataclass

from woolexec import Credentials
from woolexec.discovery import Joined, Left, Record
from woolexec.errors import DiscoveryError
from woolexec.launchers import Handle, Launcher


@dataclass
class Started:
    process: subprocess.Popen
    record: Record | None = None


class Processes(Launcher):
    """
    Peers that are processes on this machine.

    :param command: what is run; what it says is JSON, as by ``woolexec serve --json``
    """

    SERVE = (sys.executable, "-m", "woolexec", "serve", "--json", "--bind=127.0.0.1:0", "--log-level=error")

    def __init__(self, command=SERVE, **options):
        super().__init__(**options)
        self.command = [*command, *([f"--workers={self.workers}"] if self.workers else [])]
        self.all = {}  # every process that was ever started
        self.stopped = []
        self.fails = 0  # how many starts are to fail
        self._there = {}
        self._numbers = itertools.count(1)

    async def start(self, count):
        if self.fails:
            self.fails -= 1
            raise DiscoveryError("no machine is free")
        handles = [Handle(f"p{number}", f"process {number}") for number in itertools.islice(self._numbers, count)]
        for handle in handles:
            token = self.credentials.token.decode() + "\n"
            process = subprocess.Popen(  # noqa: ASYNC220
                [*self.command, "--token-file=-", "--lease=20"], stdin=-1, stdout=-1, text=True, start_new_session=True
            )
            with contextlib.suppress(BrokenPipeError):  # it has ended, which `watch` reports
                process.stdin.write(token)
                process.stdin.close()
            self.all[handle.key] = self._there[handle.key] = Started(process)
        return handles

    async def stop(self, handle):
        self.stopped.append(handle.key)
        if (started := self._there.get(handle.key)) is not None:
            started.process.terminate()

    async def watch(self):
        self.credentials = Credentials.with_new_token()
        try:
            while True:
                for key, started in list(self._there.items()):
                    if started.process.poll() is not None:
                        del self._there[key]
                        yield Left(key, "" if started.record else f"it ended with {started.process.returncode}")
                    elif started.record is None:
                        line = await asyncio.to_thread(started.process.stdout.readline)
                        if line:
                            address = json.loads(line)["address"]
                            started.record = Record(key, (address,), credentials=self.credentials)
                            yield Joined(started.record)
                await asyncio.sleep(0.02)
        finally:
            for started in self._there.values():
                started.process.terminate()
            for started in self.all.values():
                with contextlib.suppress(subprocess.TimeoutExpired):
                    await asyncio.to_thread(started.process.wait, 10)
                started.process.stdout.close()
