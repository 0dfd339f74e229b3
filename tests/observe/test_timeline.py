import json
import re

import pytest

from tests.observe.test_trace_file import run
from woolexec.engine.recorder import LOST, Made, Where
from woolexec.observe.timeline import page_of
from woolexec.observe.trace_file import TraceFile


def lines_of(*runs):
    texts = []
    file = TraceFile(texts.append, 1.0)
    for each in runs:
        file.add(each)
    file.close({})
    return "".join(texts).splitlines(keepends=True)


def data_in(page):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.DOTALL)[1])


def test_runs_are_in_the_lanes_of_their_workers():
    made, lost = Made(), run("f", where=Where("peer:1", 8, 0))
    made.where, made.ended = Where("", 7, 0), 1.7
    lost.outcome = LOST
    data = data_in(page_of(lines_of(run("g"), run("f", inputs=(made,), start=2.0), lost), "run.json"))
    assert data["names"] == ["g", "f"]
    assert [(lane["name"], len(lane["runs"])) for lane in data["lanes"]] == [("worker 7", 2), ("worker 8", 1)]
    assert data["lanes"][0]["runs"][0] == [300_000.0, 400_000.0, 0, 100_000.0, 200_000.0, 0, 3]
    assert data["outcomes"][data["lanes"][1]["runs"][0][5]] == "lost"
    assert data["arrows"] == [[0, 699_999.9, 0, 1_300_000.0, "value"]]


def test_a_file_whose_writer_was_killed_is_read_as_far_as_it_goes():
    lines = lines_of(run(), run())
    last = max(number for number, line in enumerate(lines) if '"X"' in line)
    whole = data_in(page_of([*lines[:last], lines[last][:30]], "run.json"))
    assert len(whole["lanes"][0]["runs"]) == 1


@pytest.mark.parametrize("lines", [[], ["{}\n"], ["[\n", "no JSON\n", "]\n"]])
def test_another_file_is_an_error(lines):
    with pytest.raises(ValueError):
        page_of(lines, "run.json")


@pytest.mark.parametrize(
    "event",
    [
        "1",
        "null",
        "{}",
        '{"ph":"X","pid":1,"tid":1,"ts":0,"dur":1,"name":"f"}',
        '{"ph":"X","pid":[],"args":{}}',
        '{"ph":"M","pid":1,"tid":1,"name":"thread_name","args":{}}',
        '{"ph":"X","pid":1,"tid":1,"ts":0,"dur":1,"name":"f","args":[]}',
    ],
)
def test_the_trace_of_another_program_is_an_error_that_says_so(event):
    with pytest.raises(ValueError, match=r"not written by PeerPoolExecutor\.trace"):
        page_of(["[\n", f"{event}\n", "]\n"], "run.json")


def test_hostile_names_end_no_script_and_are_no_elements():
    page = page_of(lines_of(run("</script><script>alert(1)</script><!--")), "<img src=x onerror=alert(1)>")
    assert "alert(1)</script>" not in page
    assert "<img" not in page
    assert data_in(page)["names"] == ["</script><script>alert(1)</script><!--"]


def test_the_page_requests_nothing_and_its_policy_forbids_it():
    page = page_of(lines_of(run()), "run.json")
    assert "default-src 'none'" in page
    assert "unsafe" not in page
    assert not re.search(r"https?://|@import|\bsrc=|\bhref=|url\(", page)
