"""The initializer of an engine's workers, which each of them runs first, and how its failure is handled."""

from __future__ import annotations

from functools import partial

from woolexec import errors
from woolexec.errors import ProtocolError
from woolexec.platform.posix import SIGKILL
from woolexec.wire.exceptions import load_failure

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from woolexec.engine.event_loop import Loop
    from woolexec.engine.worker_process import Worker
    from woolexec.wire.payload import File, Parts

    class Supervisor(Protocol):
        """What the initializer needs of the supervisor."""

        workers: dict[int, Worker]

        def give_up(self, error: BaseException) -> None:
            """Break the executor."""

        def kill(self, worker: Worker, number: int) -> None:
            """Send a signal to a worker."""


class Initializer:
    """
    The function that each worker runs before its first call.

    :param payload: pickled ``(function, arguments)``; None: nothing
    :param timeout: maximum seconds that it may take; None for no limit
    """

    def __init__(
        self, payload: bytes | File | Parts | None, timeout: float | None, loop: Loop, supervisor: Supervisor
    ) -> None:
        self.payload = payload
        self._timeout = timeout
        self._loop = loop
        self._supervisor = supervisor

    def watch(self, worker: Worker) -> None:
        """Begin to count the time of a worker that has been forked."""
        if self.payload is not None and self._timeout is not None:
            self._loop.after(self._timeout, partial(self._check, worker))

    def _check(self, worker: Worker) -> None:
        if self._supervisor.workers.get(worker.id) is worker and worker.page.since == 0.0:
            text = f"the initializer ran longer than {self._timeout:g} s in worker {worker.known_pid}"
            self._supervisor.give_up(errors.InitializerError(text))  # before its worker is reaped
            self._supervisor.kill(worker, SIGKILL)

    def raised(self, worker: Worker, payload: bytes) -> None:
        """
        Break the executor because the initializer raised, after decoding its exception in a thread for user code.

        :raises ProtocolError: if there is no initializer: nothing that a worker of a peer sends is unpickled there
        """
        if self.payload is None:
            raise ProtocolError("a worker reported an initializer that it was not given")
        worker.stopping = True
        worker.ready = worker.lane_place.ready = False
        self._loop.run_user_code(partial(self._decode, worker, payload))

    def _decode(self, worker: Worker, payload: bytes) -> None:
        try:
            exc = load_failure(payload)
            text = f"the initializer raised {type(exc).__name__} in worker {worker.known_pid}: {exc}"
        except BaseException as error:  # unpickling runs user code
            exc = error
            text = f"the initializer raised in worker {worker.known_pid}"
        failure = errors.InitializerError(text)
        failure.__cause__ = exc
        self._loop.tell(partial(self._supervisor.give_up, failure))
