from woolexec.api.nested_submission import OWNER
from woolexec.core.call import Call, Function
from woolexec.wire.frames import Close, Next
from woolexec.worker import nested_tasks


def test_commands_of_a_stream_name_its_task(monkeypatch):
    sent = []
    monkeypatch.setattr(nested_tasks, "send", lambda frame, file=None: sent.append(frame))
    call = Call(Function(b"", "fn"), b"", None)
    call.number = 5

    OWNER.command(call, Close(call=0))
    OWNER.pull(call)

    assert sent == [Close(call=5), Next(call=5)]
