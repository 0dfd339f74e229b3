import signal
from types import SimpleNamespace

import pytest

from woolexec.engine.diagnostics import describe_exit, lost_error


@pytest.mark.parametrize(
    ("code", "text"),
    [
        (None, "was lost"),
        (0, "exited with code 0"),
        (3, "exited with code 3"),
        (-signal.SIGKILL, "was killed by SIGKILL"),
        (-250, "was killed by signal 250"),
    ],
)
def test_exit_is_said_in_words(code, text):
    assert describe_exit(code) == text


@pytest.mark.parametrize(("known", "who"), [(4711, "worker 4711"), (0, "a worker")])
def test_worker_that_was_lost_before_its_process_id_was_reported_has_one_if_it_wrote_it_down(known, who):
    call = SimpleNamespace(name="f", cost=0.0, attempts=1, function=SimpleNamespace(lane=1))
    page = SimpleNamespace(crash_report=b"", was_asked=False)
    worker = SimpleNamespace(pid=None, known_pid=known, page=page, exitcode=3, excess="", actor=None, log=())
    worker.ended_for = None
    error = lost_error(worker, call)
    assert str(error).startswith(f"{who} on ")
    assert error.pid == (known or None)
