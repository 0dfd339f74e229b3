import pytest

from woolexec.core import stack_text
from woolexec.core.stack_text import (
    LONGEST,
    PACKAGE,
    SIZE,
    line_of,
    of_dump,
    outermost,
    parts_of,
    safe,
    text_of,
    within,
)

LANE = f'  File "{PACKAGE}worker/sync_lane.py", line 200 in _run_call'
MAIN = f'  File "{PACKAGE}worker/fork_server.py", line 200 in main'


def test_text_of_a_frame_can_be_taken_apart_again():
    assert parts_of(line_of("/a, b.py", 3, "f.<locals>.<lambda>")) == ("/a, b.py", "3", "f.<locals>.<lambda>")


@pytest.mark.parametrize("line", ["", "  waits for Task-2:", "Stack (most recent call first):", "    x = 1"])
def test_other_lines_are_no_frames(line):
    assert parts_of(line) is None


def test_names_in_a_frame_are_escaped_and_cut():
    text = line_of("/a\n\x1b[2J\u202e.py", 1, "f" * 10_000)

    assert text.isprintable()
    assert len(text) < 2 * LONGEST + 100


def test_very_long_stack_keeps_both_of_its_ends():
    lines = text_of([f"frame {number}" for number in range(1000)]).split("\n")

    assert lines[0] == "frame 0"
    assert lines[-1] == "frame 999"
    assert lines[20] == "  ... 940 frames ..."
    assert len(lines) == 61


def test_stack_of_somebody_else_is_cut_and_printable_line_by_line():
    text = safe('  File "a\x1b[1m", line 1, in f\r\n' * 10_000)

    assert all(line.isprintable() for line in text.split("\n"))
    assert len(text) < 2 * SIZE
    assert text.endswith("\n  ...")


def test_dump_begins_with_the_function_of_the_task():
    above = '  File "/b.py", line 2 in inner\n  File "/a.py", line 7 in task'
    dump = f"Stack (most recent call first):\n{above}\n{LANE}\n{MAIN}\n"

    assert of_dump(dump) == '  File "/a.py", line 7, in task\n  File "/b.py", line 2, in inner'


def test_dump_of_a_call_on_top_of_another_is_that_of_the_upper_one():
    dump = f'  File "/b.py", line 2 in upper\n{LANE}\n  File "/a.py", line 7 in lower\n{LANE}\n{MAIN}\n'

    assert of_dump(dump) == '  File "/b.py", line 2, in upper'


def test_dump_of_a_thread_that_runs_no_task_is_empty():
    assert of_dump(f"Stack (most recent call first):\n{MAIN}\n") == ""
    assert of_dump("garbage \x00\n") == ""


def test_function_with_the_name_of_one_of_ours_belongs_to_the_task():
    dump = f'  File "/b.py", line 2 in _run_call\n  File "/a.py", line 7 in task\n{LANE}\n'

    assert outermost(of_dump(dump)) == "task"


def test_frames_of_the_import_system_are_left_out_unless_there_are_no_others():
    frames = [(file, "f", file) for file in ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap_external>")]
    others = [("/a.py", "f", "/a.py"), ("<frozen runpy>", "f", "<frozen runpy>")]

    assert within([others[0], *frames, others[1], *frames]) == ["/a.py", "<frozen runpy>"]
    assert within(frames) == [file for file, *_ in frames]


def test_frames_of_this_package_are_left_out_at_both_ends_and_kept_between():
    ours = PACKAGE + "api/map.py"
    frames = [
        (ours, "", 1),
        (ours, "", 2),
        ("/a.py", "", 3),
        (ours, "", 4),
        ("/b.py", "", 5),
        (ours, "", 6),
        (ours, "", 7),
    ]

    assert within(frames) == [3, 4, 5, 6]


def test_stack_of_this_package_alone_keeps_a_frame():
    assert within([(PACKAGE + "wire/unpickling.py", "", 1), (PACKAGE + "wire/unpickling.py", "", 2)]) == [2]
    assert within([]) == []


def test_outermost_function_is_named_without_its_class():
    assert outermost('  File "/a.py", line 7, in Thing.method\n  File "/a.py", line 8, in f') == "method"
    assert outermost("") == ""


def test_package_is_where_this_package_is():
    assert stack_text.__file__.startswith(PACKAGE)
