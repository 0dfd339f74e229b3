"""How calls of other processes are submitted."""

import pytest

from tests.engine.fake_workers import Receiver
from woolexec.core.call import Call, Function
from woolexec.engine.submission import submit


def made(payload=b""):
    return Call(Function(b"f", "f"), payload, Receiver())


def test_call_is_queued_and_known_to_its_receiver():
    call, queue = made(), []
    submit(call, None, queue.append)
    assert queue == [call]
    assert call.receiver.outstanding_call is call
    assert call.receiver.outcomes == []


@pytest.mark.parametrize("payload", [b"", OSError(24, "no descriptor was left")])
def test_call_that_cannot_be_run_fails_at_once(payload):
    call, trouble = made(payload), RuntimeError("broken")
    submit(call, None if payload else trouble, pytest.fail)
    assert call.receiver.outcomes == [payload or trouble]
