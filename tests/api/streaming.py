"""A stream without a worker: the test sends its items, and checks its requests."""

from woolexec.api.stream_buffer import StreamBuffer
from woolexec.core.call import Call, Function
from woolexec.futures.call_future import CallFuture
from woolexec.wire.exceptions import dump_failure
from woolexec.wire.frames import Yield
from woolexec.wire.pickling import dumps


class Commander:
    """Keeps the commands; `answer` may answer each with an item."""

    closes_streams = False

    def __init__(self):
        self.commands = []
        self.calls = []
        self.answer = None
        self.waits = []

    def command(self, call, frame, file=None):
        assert file is None
        self.calls.append(call)
        self.commands.append(frame)

    def pull(self, call):
        self.calls.append(call)
        self.commands.append("pull")
        if self.answer is not None:
            self.answer()

    def wait_for(self, is_done):
        self.waits.append(is_done)
        return False


class Source:
    """The worker's end of a stream."""

    def __init__(self, prefetch=0, options=None):
        self.commander = Commander()
        self.future = CallFuture()
        self.buffer = StreamBuffer(self.future, self.commander, prefetch)
        self.call = Call(Function(b"", "fn"), b"", self.buffer, options)
        self.future.outstanding_call = self.call

    def start(self):
        """Open the stream and return it."""
        self.buffer.deliver_start(self.call)
        return self.future.result(0)

    def items(self, *values):
        """Send items, one by one."""
        for value in values:
            self.buffer.deliver_item(self.call, Yield(call=1, payload=dumps(value)))

    def together(self, *values):
        """Send items in one frame."""
        self.buffer.deliver_item(self.call, Yield(call=1, payload=dumps(values), count=len(values)))

    def end(self, value=None):
        self.buffer.deliver(self.call, dumps(value))

    def fail(self, error):
        self.buffer.deliver_failure(self.call, dump_failure(error))
