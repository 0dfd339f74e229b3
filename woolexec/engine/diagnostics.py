"""Messages of the engine: errors of lost calls, and logging records."""

from __future__ import annotations

from time import monotonic

from woolexec import errors
from woolexec.platform.posix import SIGKILL, host_name, oom_kills
from woolexec.printable import printable
from woolexec.wire.unpickling import Untrusted, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    from woolexec.core.call import Call
    from woolexec.engine.worker_process import Worker


def lost_error(worker: Worker, call: Call) -> errors.WorkerLostError:
    """Return the error for a call whose worker died, with all known details."""
    name, host, pid = call.name, host_name(), worker.known_pid or None
    began = call.cost if call.function.lane else worker.began(call.number)
    now = monotonic()
    seconds = now - (began or now)
    tries = f" (attempt {call.attempts})" if call.attempts > 1 else ""
    ending = "was ended by the pool" if worker.excess else describe_exit(worker.exitcode)
    who = "a worker" if pid is None else f"worker {pid}"
    text = f"{who} on {host} {ending} while running {name}{tries}, after {seconds:.3f} s"
    if worker.excess:
        text += f": {worker.excess}"
    if worker.actor is not None:
        text += f"; the actor {worker.actor.name} lived in it"
    if was_killed_for_memory(worker):
        text += "; the kernel's out-of-memory killer ended it: use fewer workers or smaller tasks"
    if worker.ended_for is not None:
        text += f"; the worker was ended to stop {worker.ended_for}, which ran in it too"
    report = worker.page.crash_report.decode(errors="replace")  # what faulthandler wrote
    if report:
        text += "\n" + report.rstrip()
    if worker.log:
        text += "\nlast log records:\n  " + "\n  ".join(worker.log)
    kind = errors.WorkerMemoryError if worker.excess else errors.WorkerLostError
    error = (kind if worker.actor is None else errors.ActorLostError)(text)
    error.task, error.pid, error.host = name, pid, host
    error.exitcode, error.seconds, error.attempts = worker.exitcode, seconds, call.attempts
    stack = last_report(worker, call)
    if stack:
        error.add_note(stack)
    return error


def stack_note(stack: str, why: str = "") -> str:
    """Return the note of an error with the last stack of its task."""
    return f"its last stack{f' ({why})' if why else ''}, most recent call last:\n{stack}"


def last_report(worker: Worker, call: Call) -> str:
    """Return the note with the last known stack of a call whose worker died; empty if there is none."""
    if not worker.page.was_asked:
        return ""
    from woolexec.core.stack_text import safe

    report = worker.page.stacks.report()
    found = {} if report is None else dict(zip(report.call, report.stack, strict=False))
    return stack_note(safe(found[call.number]), "when it was asked for") if found.get(call.number) else ""


def was_killed_for_memory(worker: Worker) -> bool:
    """Return whether the kernel has probably ended a worker because memory ran out."""
    was_killed = worker.exitcode == -SIGKILL and not (worker.stopping or worker.excess)
    return was_killed and oom_kills() > worker.oom_kills


def describe_exit(exitcode: int | None) -> str:
    """Describe how a process ended."""
    if exitcode is None:
        return "was lost"
    if exitcode >= 0:
        return f"exited with code {exitcode}"
    import signal  # it takes long to import

    try:
        name = signal.Signals(-exitcode).name
    except ValueError:
        name = f"signal {-exitcode}"
    return f"was killed by {name}"


def log_broken(error: BaseException) -> None:
    """Log that the executor is broken, with the traceback of the cause."""
    import logging

    logging.getLogger("woolexec").critical("%s", error, exc_info=error.__cause__)


def warn_dropped(count: int) -> None:
    """Log how many records were dropped."""
    import logging

    logging.getLogger("woolexec").warning("dropped %d log records from workers: a logging handler is too slow", count)


def handle_record(data: bytes | Untrusted) -> None:
    """Pass a worker's logging record to the handlers of this process."""
    import logging

    try:
        fields = loads(data)
        if isinstance(data, Untrusted):
            from woolexec.wire.plain_results import log_fields

            fields = log_fields(fields)
        record = logging.makeLogRecord(fields)
        logger = logging.getLogger(record.name)
        if logger.isEnabledFor(record.levelno):
            logger.handle(record)
    except BaseException:  # handlers and filters are user code
        logging.getLogger("woolexec").exception("a logging handler failed on a record from a worker")


def log_full(address: str) -> None:
    """Log that a peer has no room for more kept outcomes."""
    import logging

    logging.getLogger("woolexec").warning(
        "outcomes of tasks with keep=True are sent here, because the peer at %s has no room for more of them: give it "
        "a larger --store-limit or a --spill-dir; this is logged once",
        printable(address),
    )


def log_avoided(address: str, seconds: float, reason: str) -> None:
    """Log that a peer is avoided for a while."""
    import logging

    about = printable(address), seconds, printable(reason, 1000)  # the peer has written some of it
    logging.getLogger("woolexec").warning("avoiding the peer at %s for %g s: %s", *about)
