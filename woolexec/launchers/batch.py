"""
Peers that are jobs of a batch system, whose hosts share a folder with this one.

::

    <folder>/<run>/token           of this run, 0600: removed at its end, so what starts later ends at once
                   peers/          where the peers announce themselves
                   logs/<job>      the output of each job

A job runs ``woolexec serve`` with a tag that says which job it is; the batch system says which jobs have ended.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shlex
import shutil
import sys
import tempfile
from abc import abstractmethod
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryFile
from time import monotonic
from typing import IO, ClassVar

from woolexec.checks import positive_seconds
from woolexec.discovery.base import Event, Joined, Left, Record, Updated
from woolexec.discovery.directory import Directory
from woolexec.discovery.launcher import LEASE, Handle, Launcher
from woolexec.errors import DiscoveryError
from woolexec.mesh.security.credentials import Credentials, state_folder

JOB = "woolexec-job"
"""The tag that says which job a peer is."""

_LOOK, _RARELY = 1.0, 5.0
"""Seconds between two queries of the batch system about its jobs: the least, and the most if nothing has changed."""

_SOON, _PAUSE = 10.0, 0.05
"""Seconds after a change of a job in which its peer is expected; seconds between two looks for it meanwhile."""

_COMMAND = 30.0
"""Seconds that a command of the batch system may take."""

_ASK = 0.01
"""Seconds between two checks whether a command has ended."""

_SAID = 2000
"""Maximum size of the end of a job's log that an error quotes, in bytes."""


@dataclass(frozen=True, slots=True)
class State:
    """
    The state of a job, as reported by a batch system.

    :param is_over: the job has ended, or will not start
    :param has_failed: the job ended although it was not told to
    :param text: the state in the batch system's own words, for messages
    :param is_leaving: the job will be ended soon, so its peer must drain
    :param is_waiting: the job has not started, or will be started again
    """

    is_over: bool
    has_failed: bool
    text: str
    is_leaving: bool = False
    is_waiting: bool = False


@dataclass(slots=True)
class _Run:
    """One use of a launcher: its folder, its token, and the jobs that have not ended, by their keys."""

    folder: Path
    peers: Directory
    credentials: Credentials
    jobs: dict[str, Handle] = field(default_factory=dict)
    there: set[str] = field(default_factory=set)  # jobs whose peers were found
    leaving: set[str] = field(default_factory=set)  # jobs that drain because their time is over
    news: dict[str, tuple[str, float]] = field(default_factory=dict)  # by job: its last state, and since when
    changed: float = 0.0  # when a state changed last

    def note(self, key: str, text: str) -> None:
        """Note the state of a job; if it has changed, its peer may appear soon."""
        if key not in self.news or self.news[key][0] != text:
            self.changed = monotonic()
            self.news[key] = text, self.changed

    @property
    def pause(self) -> float:
        """Seconds between two queries about the jobs; each is a load on the batch system."""
        return min(_RARELY, (monotonic() - self.changed) / 20)

    def set_pace(self) -> None:
        """Look often only while peers may appear soon: each look is a load on the file server."""
        expected = [since for key, (_, since) in self.news.items() if key in self.jobs and key not in self.there]
        is_soon = bool(expected) and monotonic() - max(expected) < _SOON
        self.peers.pause = _PAUSE if is_soon else Directory.pause

    @property
    def name(self) -> str:
        return self.folder.name


class Batch(Launcher):
    """
    A batch system; subclass it to support another one, as `Slurm` does.

    :param folder: a folder that this host shares with the hosts of the batch system; None: in this user's state folder
    :param python: the interpreter on those hosts; None: the path of this one
    :param prelude: lines of shell that run before the interpreter: ``module load ...``
    :param lease: seconds without a client after which a peer ends, in case this program dies
    :param min: number of peers that are kept while the executor lives
    :param max: maximum number of peers, each one job
    :param workers: number of workers of each peer; None: one for each CPU that its job may use
    :param idle_timeout: seconds after which an idle peer is stopped; None: they stay
    """

    kind: ClassVar[str] = ""
    """The name of the batch system in messages."""

    def __init__(
        self,
        *,
        folder: str | os.PathLike[str] | None = None,
        python: str | None = None,
        prelude: str = "",
        lease: float = LEASE,
        min: int = 0,  # noqa: A002  # as in the URL
        max: int = 16,  # noqa: A002
        workers: int | None = None,
        idle_timeout: float | None = 60.0,
    ) -> None:
        super().__init__(min=min, max=max, workers=workers, idle_timeout=idle_timeout)
        self.folder = folder
        self.python = python or sys.executable
        self.prelude = prelude
        if not positive_seconds("lease", lease):
            raise ValueError("lease must be a number of seconds")
        self.lease = lease
        self._run: _Run | None = None

    # -- for subclasses to override -------------------------------------------------------------------------------

    @abstractmethod
    async def submit(self, count: int, script: str, name: str, logs: Path) -> Sequence[str]:
        """
        Submit this number of jobs that run a script, and return their keys.

        :param script: a shell script; ``$PEER_JOB`` must be the key of the job, and ``$PEER_WORKERS`` may be the number
            of CPUs that it has, if `workers` is None
        :param name: the name of this run, for the name of the jobs
        :param logs: the folder in which `log_of` expects the output of the jobs
        :raises DiscoveryError: if the jobs are not accepted
        """

    @abstractmethod
    async def states(self, keys: Sequence[str], name: str) -> Mapping[str, State]:
        """
        Return the states of these jobs; jobs that are no longer known are left out, and count as ended.

        :raises DiscoveryError: if the batch system does not answer
        """

    @abstractmethod
    async def drain(self, key: str) -> None:
        """End a job: with SIGTERM if it runs, at once if it waits."""

    @abstractmethod
    async def cancel(self, keys: Sequence[str]) -> None:
        """End these jobs now."""

    # -- a launcher -------------------------------------------------------------------------------------------------

    async def start(self, count: int) -> Sequence[Handle]:
        """Submit jobs."""
        run = self._run
        if run is None:
            raise DiscoveryError(f"{self}: not in use by an executor")
        keys = await self.submit(count, self._script(run), run.name, run.folder / "logs")
        handles = [Handle(key, f"{self.kind} job {key}") for key in keys]
        if run is not self._run:  # it has ended meanwhile
            await self.cancel([handle.key for handle in handles])
            return []
        for handle in handles:
            run.jobs[handle.key] = handle
            run.note(handle.key, "")
        run.set_pace()
        return handles

    async def stop(self, handle: Handle) -> None:
        """Drain a peer, or cancel its job."""
        if self._run is not None and handle.key in self._run.jobs:
            await self.drain(handle.key)

    async def watch(self) -> AsyncIterator[Event]:
        """Yield the peers that announce themselves, and the jobs that end; all jobs end when this is closed."""
        folder = self._new_folder()
        self._run = run = _Run(folder, Directory(folder / "peers"), Credentials.with_new_token())
        events: asyncio.Queue[Event | BaseException] = asyncio.Queue()
        tasks = [asyncio.ensure_future(_pass_on(each, events)) for each in (self._peers(run), self._ends(run))]
        try:
            self._write_token(run)
            while True:
                event = await events.get()
                if isinstance(event, BaseException):
                    raise event
                yield event
        finally:
            self._run = None
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)
            try:
                if run.jobs:
                    await self.cancel(list(run.jobs))
            except DiscoveryError:
                pass  # running jobs end by their lease, and later ones because the token is missing
            finally:
                shutil.rmtree(run.folder, ignore_errors=True)

    async def _peers(self, run: _Run) -> AsyncIterator[Event]:
        """Yield the peers that have announced themselves, by the keys of their jobs."""
        async with contextlib.aclosing(run.peers.watch()) as events:  # type: ignore[type-var]
            async for event in events:
                if isinstance(event, Left):
                    continue  # the state of its job says when it has ended
                record = self._record(run, event.record)
                if record is not None:
                    run.there.add(record.key)
                    self.trouble = ""
                    yield Updated(record) if isinstance(event, Updated) else Joined(record)

    def _record(self, run: _Run, announced: Record) -> Record | None:
        key = next((tag.partition("=")[2] for tag in announced.tags if tag.startswith(f"{JOB}=")), "")
        return replace(announced, key=key, credentials=run.credentials) if key in run.jobs else None

    async def _ends(self, run: _Run) -> AsyncIterator[Event]:
        """Yield the jobs that have ended."""
        last = -inf
        while True:
            await asyncio.sleep(_LOOK)
            run.set_pace()
            asked = list(run.jobs)
            if not asked or monotonic() - last < run.pause:
                continue
            last = monotonic()
            try:
                states = await self.states(asked, run.name)
            except DiscoveryError as exc:
                self.trouble = str(exc)  # the jobs continue, so this does too
                continue
            for key in asked:
                state = states.get(key)
                if state is not None and state.is_waiting and key in run.there:
                    state = await self._take_back(key, state)
                if state is None or state.is_over:
                    handle = run.jobs.pop(key)
                    run.note(key, "over")
                    del run.news[key]
                    yield Left(key, self._why(run, handle, state) if state is not None else "")
                    continue
                run.note(key, state.text)
                if key not in run.there:
                    self.trouble = f"{run.jobs[key].name}: {state.text}"
                if state.is_leaving and key not in run.leaving:
                    with contextlib.suppress(DiscoveryError):
                        await self.drain(key)
                        run.leaving.add(key)

    async def _take_back(self, key: str, state: State) -> State:
        """Cancel a job that was requeued: its peer is gone, and a new job, if needed, starts sooner."""
        try:
            await self.drain(key)
        except DiscoveryError as exc:
            self.trouble = str(exc)
            return state
        return replace(state, is_over=True)

    def _why(self, run: _Run, handle: Handle, state: State) -> str:
        """Return why a job has failed, with the end of its log; empty if it has not."""
        if not state.has_failed:
            return ""
        said = ""
        with contextlib.suppress(OSError), open(self.log_of(run.folder / "logs", handle.key), "rb") as log:
            log.seek(max(0, os.fstat(log.fileno()).st_size - _SAID))
            said = " / ".join(log.read(_SAID).decode(errors="replace").strip().splitlines()[-5:])
        return f"{handle.name} ended: {state.text}{': ' if said else ''}{said}"

    @staticmethod
    def log_of(logs: Path, key: str) -> Path:
        """Return the path of the output of a job."""
        return logs / key

    def _new_folder(self) -> Path:
        """
        Make the folder of a run.

        :raises DiscoveryError: if it cannot be made
        """
        try:
            outer = Path(self.folder).absolute() if self.folder is not None else state_folder("launched")
            made = Path(tempfile.mkdtemp(prefix="run-", dir=outer))  # 0700
            for name in ("peers", "logs"):
                (made / name).mkdir(mode=0o700)
        except OSError as exc:
            raise DiscoveryError(f"{self}: {exc.filename}: {exc.strerror}") from exc
        return made

    def _write_token(self, run: _Run) -> None:
        assert run.credentials.token is not None
        try:
            with open(os.open(run.folder / "token", os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(run.credentials.token + b"\n")
        except OSError as exc:
            raise DiscoveryError(f"{self}: {run.folder}/token: {exc.strerror}") from exc

    def serve_options(self) -> Iterable[str]:
        """Return further options of ``woolexec serve``, which say what the jobs offer."""
        return ()

    def _script(self, run: _Run) -> str:
        options = [
            "--bind=0.0.0.0:0",
            f"--token-file={run.folder}/token",
            f"--announce=dir:{run.folder}/peers",
            f"--lease={self.lease:g}",
            "--log-level=warning",
            *([f"--workers={self.workers}"] if self.workers else []),
            *self.serve_options(),
        ]
        serve = shlex.join([self.python, "-m", "woolexec", "serve", *options])
        workers = "" if self.workers else ' ${PEER_WORKERS:+"--workers=$PEER_WORKERS"}'
        return f'{self.prelude}\nexec {serve} --tag="{JOB}=$PEER_JOB"{workers}\n'


async def _pass_on(events: AsyncIterator[Event], queue: asyncio.Queue[Event | BaseException]) -> None:
    """Put events into a queue, and at the end the exception that ended them."""
    try:
        async with contextlib.aclosing(events) as source:  # type: ignore[type-var]  # a generator
            async for event in source:
                queue.put_nowait(event)
    except Exception as exc:
        queue.put_nowait(exc)


async def command(*words: str, stdin: str = "", without: tuple[str, ...] = ()) -> str:
    """
    Run a command of a batch system, and return what it printed.

    No thread waits for it: when the interpreter ends, there are no threads any more.

    :param without: environment variables whose names begin with this are removed
    :raises DiscoveryError: if the command does not exist, fails, or takes too long
    """
    with TemporaryFile() as given, TemporaryFile() as said, TemporaryFile() as complained:
        env = {name: value for name, value in os.environ.items() if not name.startswith(without)} if without else None
        given.write(stdin.encode())
        given.seek(0)
        try:
            # asyncio's subprocesses would need the child watcher of the user's event loop policy.
            process = Popen(  # noqa: ASYNC220
                words, stdin=given, stdout=said, stderr=complained, start_new_session=True, env=env
            )
        except OSError as exc:
            error = DiscoveryError(f"cannot run {words[0]}: {exc.strerror}")
            error.is_final = isinstance(exc, FileNotFoundError)
            raise error from exc
        try:
            async with asyncio.timeout(_COMMAND):
                while process.poll() is None:  # noqa: ASYNC110  # as above
                    await asyncio.sleep(_ASK)
        except TimeoutError as exc:
            raise DiscoveryError(f"{words[0]}: no answer in {_COMMAND:g} s") from exc
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        if process.returncode:
            last = " / ".join(_text(complained).strip().splitlines()[-3:]) or f"exit code {process.returncode}"
            raise DiscoveryError(f"{words[0]}: {last}")
        return _text(said)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
