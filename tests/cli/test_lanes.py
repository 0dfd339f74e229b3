import json

from tests.observe.test_timeline import lines_of
from tests.observe.test_trace_file import run
from woolexec.cli.lanes import lanes_of
from woolexec.engine.recorder import Where
from woolexec.observe.timeline import events_of


def test_each_worker_has_a_line_and_blocks_are_as_high_as_it_was_busy():
    lines = lines_of(run(start=1.0), run(start=1.8), run(where=Where("", 8, 0), start=1.4))
    text = list(lanes_of(events_of(lines), 12))  # 0.1 s each
    assert text[1:] == [
        "  worker 7       ████    ████",
        "  worker 8           ████    ",
        "                 0     1.20 s",
    ]


def test_without_runs_there_are_no_lines():
    assert list(lanes_of([json.loads('{"ph":"M","name":"process_name","pid":1,"args":{"name":"x"}}')], 10)) == []
