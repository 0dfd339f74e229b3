from dataclasses import replace

from woolexec.core.stack_text import SIZE
from woolexec.core.task_stack import TaskStack
from woolexec.engine.stack_frames import MOST, frame_of, stacks_of
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Inspected, encode

ONE = TaskStack(7, "work", 1.5, "node", 42, '  File "/a.py", line 1, in work', "a note", client="host:3")


def over_a_link(frame, peer="h:1"):
    (frame,) = decode(encode(frame), 0)
    return list(stacks_of(frame, peer))


def test_stacks_arrive_as_they_were_with_the_address_of_the_peer():
    assert over_a_link(frame_of([ONE, replace(ONE, client="")], 3)) == [
        replace(ONE, peer="h:1"),
        replace(ONE, peer="h:1", client=""),
    ]
    assert over_a_link(frame_of([], 3)) == []


def test_what_has_no_room_in_a_frame_is_counted():
    many, large = frame_of([ONE] * (MOST + 5), 3), frame_of([replace(ONE, stack="x" * SIZE)] * 100, 3)

    assert (len(many.call), many.left_out) == (MOST, 5)
    assert len(large.call) + large.left_out == 100
    assert len(encode(large)) < 1 << 20


def test_texts_of_a_peer_are_made_printable_and_cut():
    evil = "\x1b[2J\r\n\u202e" * 10_000
    (found,) = over_a_link(
        Inspected(
            call=(1,), name=(evil,), seconds=(1.0,), host=(evil,), pid=(1,), stack=(evil,), note=(evil,), client=(evil,)
        ),
        evil,
    )

    for text in (found.function, found.host, found.note, found.peer, found.client):
        assert text.isprintable()
        assert len(text) < 10_000
    assert all(line.isprintable() for line in found.stack.split("\n"))
    assert len(found.stack) < 10 * SIZE
    assert "\x1b" not in str(found)


def test_columns_of_different_lengths_give_as_many_as_are_whole():
    frame = Inspected(call=(1, 2), name=("a",), seconds=(1.0, 2.0), host=("h", "h"), pid=(1, 2), stack=("s", "s"))

    assert list(stacks_of(frame, "")) == []
