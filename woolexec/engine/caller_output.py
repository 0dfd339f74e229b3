"""
The output of tasks in the caller's process: written to the current `sys.stdout` and `sys.stderr`.

The thread for log records writes it, because these may be objects of the program, or block.  A line must be written
before ``result()`` returns.  So the outcome of a call that has printed waits until its output was written, but at most
`PATIENCE` seconds (`Behind`)::

    the engine's thread:  show ------.   deliver ----> waits ..... released: to the receiver
                                     v                                 ^
    the thread for records:      write, one after the other -----------'

Output that arrives while `ROOM` bytes wait to be written is dropped, and its bytes are counted.
"""

from __future__ import annotations

import sys
from collections import deque
from functools import partial

from woolexec.core.call import DONE, LIFE
from woolexec.platform.posix import host_name
from woolexec.printable import printable
from woolexec.wire.printed import STDERR

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from contextvars import Context
    from typing import Any

    from woolexec.core.call import Call
    from woolexec.engine.event_loop import Loop
    from woolexec.wire.frames import Output

ROOM = 4 << 20
"""Bytes that may wait to be written."""

PATIENCE = 1.0
"""Maximum seconds that an outcome waits until the output of its task is written."""

HERE, ELSEWHERE = "({name} pid={pid}) ", "({name} pid={pid} host={host}) "
"""Prefixes of lines while several tasks print, for workers on this host and on others."""


class CallerOutput:
    """
    Writes the output of tasks.

    :param prefix: the text before each line, with fields in braces; None: nothing; "auto": `HERE` or `ELSEWHERE`, if
        more than one of the calls that have printed has not ended
    :param escapes: replace control characters, because peers are not trusted
    """

    def __init__(self, loop: Loop, prefix: str | None, *, escapes: bool) -> None:
        self._loop = loop
        self._template = prefix
        self._escapes = escapes
        self._shown = self._written = 0  # pieces; each number is changed by one thread only
        self._size = self._written_size = 0  # bytes; as above
        self._lost = 0
        self._talking: dict[tuple[Any, ...], Call] = {}
        self._waiting: dict[Behind, float] = {}  # until when, at most
        self._is_watching = False

    # -- in the engine's thread ---------------------------------------------------------------------------------

    def show(self, frame: Output, outermost: Call | None) -> None:
        """
        Have it written.

        :param outermost: the program's call that the output belongs to, if known
        """
        size = len(frame.text)
        if self._size - self._written_size > ROOM:
            if not self._lost:
                self._loop.after(PATIENCE, self._say_lost)
            self._lost += size + frame.lost
            return
        prefix = self._prefix_of(frame, outermost)
        lost, self._lost = self._lost + frame.lost, 0
        self._shown += 1
        self._size += size
        context = None if outermost is None else getattr(outermost.receiver, "shown_in", None)
        self._loop.handle_output(partial(self._write, frame.stream, frame.text, prefix, lost, context))
        if outermost is not None and outermost.function.lane != LIFE:
            behind = outermost.receiver
            if type(behind) is not Behind:
                outermost.receiver = behind = Behind(behind, self)
            behind.until = self._shown

    def _prefix_of(self, frame: Output, outermost: Call | None) -> str:
        template = self._template
        if template is None:
            return ""
        if template == "auto":
            if outermost is not None and outermost.function.lane != LIFE:  # that lasts as long as its actor
                task = frame.task if outermost.function.lane else 0  # a main thread runs one after the other
                self._talking[frame.host, frame.pid, task] = outermost
            if len(self._talking) > 1:
                self.forget_ended()
            if len(self._talking) < 2:
                return ""
            template = HERE if frame.host == host_name() else ELSEWHERE
        return template.format(name=frame.name, task=frame.task, pid=frame.pid, host=frame.host)

    def forget_ended(self) -> None:
        """Drop the references to calls that have ended, and so to their results."""
        self._talking = {key: call for key, call in self._talking.items() if call.state != DONE}

    def wait(self, behind: Behind) -> None:
        """Release a waiting outcome when all output that was shown before it has been written."""
        if not self._is_watching:
            self._is_watching = True
            self._loop.after(PATIENCE, self._look_for_late)
        self._waiting[behind] = self._loop.clock() + PATIENCE
        if self.has_written(behind.until):  # the other thread may not have seen the waiter
            behind.release()

    def has_written(self, number: int) -> bool:
        """Return whether this number of pieces has been written."""
        return self._written >= number

    def _look(self) -> None:
        now = self._loop.clock()
        for behind, deadline in tuple(self._waiting.items()):
            if self.has_written(behind.until) or now >= deadline:
                behind.release()

    def _look_for_late(self) -> None:
        self._look()
        self._is_watching = bool(self._waiting)
        if self._is_watching:
            self._loop.after(PATIENCE, self._look_for_late)

    def forget(self, behind: Behind) -> None:
        """Stop waiting."""
        self._waiting.pop(behind, None)

    def close(self) -> None:
        """Release everything: the engine ends."""
        for behind in tuple(self._waiting):
            behind.release()
        self._say_lost()

    def _say_lost(self) -> None:
        if self._lost:
            lost, self._lost = self._lost, 0
            self._shown += 1
            self._loop.handle_output(partial(self._write, STDERR, b"", "", lost, None))

    # -- in the thread for records ------------------------------------------------------------------------------

    def _write(self, stream: int, text: bytes, prefix: str, lost: int, context: Context | None) -> None:
        try:
            if lost:
                said = f"woolexec: {lost} bytes of task output were dropped here: it arrived too fast\n"
                _in_context(context, STDERR, said)
            if text:
                _in_context(context, stream, self._readable(text, prefix))
        except BaseException:  # streams are user code; a failure of one must not affect the other
            pass
        finally:
            self._written_size += len(text)
            self._written += 1
            if self._waiting:
                self._loop.tell(self._look)

    def _readable(self, data: bytes, prefix: str) -> str:
        text = data.decode("utf-8", "backslashreplace")
        if self._escapes:
            lines = text.replace("\r\n", "\n").split("\n")
            text = "\n".join("\t".join(map(printable, line.split("\t"))) for line in lines)
        if prefix:
            end = -1 if text.endswith(("\n", "\r")) else len(text)
            text = prefix + text[:end].replace("\r\n", "\n").replace("\n", "\n" + prefix) + text[end:]
        return text


def _in_context(context: Context | None, stream: int, text: str) -> None:
    if context is None:
        _write(stream, text)
    else:
        context.run(_write, stream, text)


def _write(stream: int, text: str) -> None:
    out = sys.stderr if stream == STDERR else sys.stdout
    if out is None:  # a program without a console
        return
    try:
        out.write(text)
    except UnicodeEncodeError:
        encoding = getattr(out, "encoding", None) or "ascii"
        out.write(text.encode(encoding, "backslashreplace").decode(encoding))
    out.flush()


class Behind:
    """
    Replaces the receiver of a call that has printed: an outcome waits until the output has been written.

    It has the attributes of the receiver, and counts as an instance of its class.
    """

    __slots__ = ("_line", "_output", "_receiver", "until")

    def __init__(self, receiver: Any, output: CallerOutput) -> None:
        set_ = object.__setattr__
        set_(self, "_receiver", receiver)
        set_(self, "_output", output)
        set_(self, "_line", deque())
        set_(self, "until", 0)

    @property  # type: ignore[misc]  # as proxies do
    def __class__(self) -> type:
        return self._receiver.__class__  # type: ignore[no-any-return]  # it is a class

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._receiver, name)
        return partial(self._deliver, value) if name.startswith("deliver") else value

    def __setattr__(self, name: str, value: Any) -> None:
        if name == "until":
            object.__setattr__(self, name, value)
        else:
            setattr(self._receiver, name, value)

    def _deliver(self, deliver: Callable[..., object], *args: Any) -> None:
        self._output.forget_ended()
        if not self._line and self._output.has_written(self.until):
            deliver(*args)
            return
        self._line.append(partial(deliver, *args))
        if len(self._line) == 1:
            self._output.wait(self)

    def release(self) -> None:
        """Deliver the waiting outcomes."""
        self._output.forget(self)
        while self._line:
            self._line.popleft()()
