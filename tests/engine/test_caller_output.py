"""The output of tasks is written to the streams of this process before their outcomes are delivered."""

import io
import sys
import weakref
from contextvars import ContextVar, copy_context
from types import SimpleNamespace

import pytest

from tests.engine.fake_workers import FakeLoop
from woolexec.core.call import ASYNCIO, DONE, LIFE, SENT, Call, Function, Pulled
from woolexec.engine import caller_output
from woolexec.engine.caller_output import PATIENCE, Behind, CallerOutput
from woolexec.wire.frames import Output
from woolexec.wire.printed import STDERR, STDOUT


class Receiver(Pulled):
    def __init__(self):
        self.got = []

    def deliver(self, call, payload):
        self.got.append(payload)

    deliver_failure = deliver_item = deliver


class Loop(FakeLoop):
    """A loop and the thread that writes, which the test moves on."""

    def __init__(self):
        super().__init__(None)
        self.pieces = []

    def handle_output(self, piece):
        self.pieces.append(piece)

    def write(self):
        while self.pieces:
            self.pieces.pop(0)()

    def run(self):
        while self.inbox:
            self.inbox.popleft()()


@pytest.fixture
def loop():
    return Loop()


@pytest.fixture
def output(loop):
    return CallerOutput(loop, "auto", escapes=False)


def call(name="task", lane=0):
    made = Call(Function(b"", name, lane), b"", Receiver())
    made.state = SENT
    return made


def said(text, task=1, name="task", stream=STDOUT, host="elsewhere", lost=0):
    return Output(stream=stream, text=text, lost=lost, task=task, name=name, host=host, pid=4711)


def check_that_an_outcome_waits_for_its_lines(loop, output):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    printing.receiver.deliver(printing, "value")
    assert receiver.got == []
    loop.write()
    loop.run()
    assert receiver.got == ["value"]


def lines_of(capsys):
    return capsys.readouterr().out.splitlines()


def test_lines_are_written_to_the_streams_of_that_moment(loop, output, capsys):
    output.show(said(b"out\n"), None)
    output.show(said(b"err\n", stream=STDERR), None)
    loop.write()
    assert capsys.readouterr() == ("out\n", "err\n")


def test_outcome_waits_until_what_its_call_has_printed_is_written(loop, output, capsys):
    check_that_an_outcome_waits_for_its_lines(loop, output)
    assert capsys.readouterr().out == "line\n"


def test_outcome_that_comes_after_the_line_was_written_is_delivered_at_once(loop, output, capsys):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    loop.write()
    printing.receiver.deliver(printing, "value")
    assert receiver.got == ["value"]


def test_what_is_delivered_keeps_its_order(loop, output, capsys):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    printing.receiver.deliver_item(printing, 1)
    loop.write()
    printing.receiver.deliver_item(printing, 2)  # the first was not delivered yet
    loop.run()
    assert receiver.got == [1, 2]


def test_outcome_does_not_wait_for_a_stream_that_blocks(loop, output, capsys):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    printing.receiver.deliver(printing, "value")
    loop.pass_time(PATIENCE)
    assert receiver.got == ["value"]
    loop.write()


def test_end_of_the_engine_delivers_what_waits(loop, output, capsys):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    printing.receiver.deliver_failure(printing, "failure")
    output.close()
    assert receiver.got == ["failure"]
    loop.write()


def test_receiver_of_a_call_that_has_printed_seems_to_be_the_one_that_it_was(loop, output, capsys):
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    behind = printing.receiver
    assert type(behind) is Behind
    assert isinstance(behind, Pulled)
    behind.shut = "gently"
    assert receiver.shut == "gently"
    assert not hasattr(behind, "deliver_kept")
    loop.write()


def test_life_of_an_actor_keeps_its_receiver(loop, output, capsys):
    life, receiver = (one := call(lane=LIFE)), one.receiver
    output.show(said(b"made\n"), life)
    assert life.receiver is receiver
    loop.write()


def test_lines_have_a_prefix_while_more_than_one_task_prints(loop, output, capsys):
    first, second = call("first"), call("second")
    this_host = caller_output.host_name()
    output.show(said(b"one\n", 1, "first", host=this_host), first)
    output.show(said(b"two\nthree\n", 2, "second"), second)
    output.show(said(b"four\n", 1, "first", host=this_host), first)
    second.state = DONE
    output.show(said(b"five\n", 1, "first", host=this_host), first)
    loop.write()
    lines = lines_of(capsys)
    here = "(second pid=4711 host=elsewhere) "
    assert lines == ["one", f"{here}two", f"{here}three", "(first pid=4711) four", "five"]


def test_tasks_of_one_main_thread_are_one_after_the_other_and_coroutines_are_not(loop, output, capsys):
    for task in (1, 2):
        output.show(said(b"plain\n", task), call())
    for task in (3, 4):
        output.show(said(b"coroutine\n", task), call(lane=ASYNCIO))
    loop.write()
    assert ["pid=" in line for line in lines_of(capsys)] == [False, False, True, True]


@pytest.mark.parametrize(("prefix", "line"), [(None, "text\n"), ("{name}/{task}@{host}:{pid}| ", "f/3@h:4711| text\n")])
def test_prefix_is_what_was_asked_for(loop, capsys, prefix, line):
    output = CallerOutput(loop, prefix, escapes=False)
    output.show(said(b"text\n", 3, "f", host="h"), call())
    output.show(said(b"text\n", 3, "f", host="h"), call())
    loop.write()
    assert capsys.readouterr().out == 2 * line


def test_control_characters_are_escaped_if_peers_are_not_trusted(loop, capsys):
    output = CallerOutput(loop, None, escapes=True)
    output.show(said(b"\x1b[31mred\x1b[0m\t\xff\x07\r\ntwo\rthree\n"), None)
    loop.write()
    assert capsys.readouterr().out == "\\x1b[31mred\\x1b[0m\t\\xff\\x07\ntwo\\rthree\n"


def test_flood_is_cut_with_the_number_of_bytes_that_are_missing(loop, output, capsys):
    output.show(said(b"x" * (caller_output.ROOM + 1)), None)
    for _ in range(3):
        output.show(said(b"0123456789\n"), None)
    assert len(loop.pieces) == 1
    loop.write()
    output.show(said(b"again\n"), None)
    loop.write()
    out, err = capsys.readouterr()
    assert err == "woolexec: 33 bytes of task output were dropped here: it arrived too fast\n"
    assert out.endswith("again\n")


def test_flood_that_nothing_follows_is_told_of_too(loop, output, capsys):
    output.show(said(b"x" * (caller_output.ROOM + 1)), None)
    output.show(said(b"lost\n"), None)
    loop.write()
    loop.pass_time(PATIENCE)
    loop.write()
    assert "5 bytes" in capsys.readouterr().err


def test_outcome_waits_for_its_lines_after_a_flood_was_told_of(loop, output, capsys):
    output.show(said(b"x" * (caller_output.ROOM + 1)), None)
    output.show(said(b"lost\n"), None)
    loop.write()
    loop.pass_time(PATIENCE)
    loop.write()
    check_that_an_outcome_waits_for_its_lines(loop, output)


class Broken(io.StringIO):
    def write(self, text):
        raise BrokenPipeError


@pytest.mark.parametrize("stream", [None, Broken(), SimpleNamespace(write=lambda _: sys.exit(1))])
def test_stream_that_fails_takes_no_other_down(loop, output, monkeypatch, capsys, stream):
    monkeypatch.setattr(sys, "stdout", stream)
    printing, receiver = (one := call()), one.receiver
    output.show(said(b"line\n"), printing)
    output.show(said(b"err\n", stream=STDERR), printing)
    printing.receiver.deliver(printing, "value")
    loop.write()
    loop.run()
    assert receiver.got == ["value"]
    assert capsys.readouterr().err == "err\n"


def test_stream_with_few_characters_gets_the_others_escaped(loop, output, monkeypatch):
    file = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(file, "ascii"))
    output.show(said("größe\n".encode()), None)
    loop.write()
    assert file.getvalue() == b"gr\\xf6\\xdfe\n"


def test_lines_are_written_in_the_context_in_which_their_task_was_submitted(loop, output, monkeypatch):
    cell = ContextVar("cell", default=0)
    seen = []
    monkeypatch.setattr(sys, "stdout", SimpleNamespace(write=lambda text: seen.append((cell.get(), text)), flush=int))
    printing = call()
    cell.set(1)
    printing.receiver.shown_in = copy_context()
    cell.set(2)
    output.show(said(b"line\n"), printing)
    loop.write()
    assert seen == [(1, "line\n")]


def test_call_that_has_ended_is_not_kept(loop, output, capsys):
    printing = call()
    output.show(said(b"line\n"), printing)
    loop.write()
    kept = weakref.ref(printing.receiver._receiver)
    printing.state = DONE
    printing.receiver.deliver(printing, "value")
    del printing
    assert kept() is None
