import json

from woolexec.engine.recorder import RAISED, Made, Run, Where
from woolexec.observe.trace_file import TraceFile

SEVEN = Where("", 7, 0)


def run(name="work", *, where=SEVEN, parent=None, inputs=(), start=1.0):
    made = Run(3, name, 0, start, start + 0.1, None, where.row, parent, inputs, is_lane=False)
    made.began, made.ended, made.where = start + 0.3, start + 0.7, where
    return made


def events_of(*runs, clocks=(), dropped=0):
    texts = []
    file = TraceFile(texts.append, 1.0)
    for each in runs:
        file.add(each)
    file.close(dict(clocks), dropped)
    return json.loads("".join(texts))


def of(events, phase):
    return [event for event in events if event["ph"] == phase]


def test_a_call_waits_travels_and_runs():
    events = events_of(run())
    (ran,) = of(events, "X")
    assert (ran["ts"], ran["dur"]) == (300_000.0, 400_000.0)
    assert (ran["args"]["waiting_ms"], ran["args"]["transfer_ms"]) == (100.0, 200.0)
    assert [(event["ph"], event["cat"], event["ts"]) for event in events if event["ph"] in "be"] == [
        ("b", "waiting", 0.0),
        ("e", "waiting", 100_000.0),
        ("b", "transfer", 100_000.0),
        ("e", "transfer", 300_000.0),
    ]


def test_each_worker_and_each_host_has_a_lane():
    lanes = [Where("", 7, 0), Where("", 8, 0), Where("", 7, 2), Where("peer:1", 7, 0)]
    events = events_of(*(run(where=where) for where in [*lanes, *lanes]), clocks=[("peer:1", 0.002)])
    assert len({(event["pid"], event["tid"]) for event in of(events, "X")}) == 4
    names = [event["args"]["name"] for event in of(events, "M") if event["name"] == "thread_name"]
    assert names == ["worker 7", "worker 8", "worker 7, lane 2", "worker 7"]
    assert [event["args"] for event in of(events, "M") if event["name"] == "process_labels"] == [
        {"labels": "clock ±2.00 ms"}
    ]


def test_arrows_go_from_runs_to_runs():
    made = Made()
    made.where, made.ended = Where("", 8, 0), 1.2
    events = events_of(run(parent=Where("", 9, 0), inputs=(made, Made())))
    (ran,) = of(events, "X")
    starts, ends = of(events, "s"), of(events, "f")
    assert [(event["cat"], event["tid"]) for event in starts] == [("submits", 9), ("value", 8)]
    assert starts[1]["ts"] < 200_000.0  # inside of the run that made the value
    assert [(event["id"], event["tid"], event["ts"], event["bp"]) for event in ends] == [
        (start["id"], ran["tid"], ran["ts"], "e") for start in starts
    ]


METADATA = {
    "process_name": "name",
    "process_labels": "labels",
    "process_sort_index": "sort_index",
    "thread_name": "name",
    "thread_sort_index": "sort_index",
}


def test_each_event_is_as_the_format_has_it():
    early = run(where=Where("peer:1", (1 << 22) - 1, 9999), start=1.0)
    early.submitted, early.sent = 0.99, 0.995  # by a clock that differs
    made = Made()
    made.where, made.ended = Where("", 9, 0), 2.7
    using = run(where=Where("peer:1", 7, 1), parent=Where("", 9, 0), inputs=(made,), start=2.5)
    events = events_of(early, run(where=Where("", 9, 0), start=2.0), using, clocks=[("peer:1", 0.002)], dropped=3)
    runs = of(events, "X")
    for event in events:
        assert all(0 <= number < 1 << 32 for number in (event["pid"], event.get("tid", 0)))
        if event["ph"] == "M":
            assert list(event["args"]) == [METADATA[event["name"]]]
        else:
            assert {"name", "cat", "ts"} <= event.keys()
            assert min(event["ts"], event.get("dur", 0)) >= 0
    for begin, end, keys in (("b", "e", ("cat", "id", "name", "pid")), ("s", "f", ("cat", "id", "name"))):
        both = [[tuple(event[key] for key in keys) for event in of(events, phase)] for phase in (begin, end)]
        assert both[0] == both[1]
        assert len(set(both[0])) == len(both[0]) > 1
    for arrow in of(events, "s") + of(events, "f"):  # Perfetto binds them to the run in which they are
        assert any(
            (each["pid"], each["tid"]) == (arrow["pid"], arrow["tid"])
            and each["ts"] <= arrow["ts"] <= each["ts"] + each["dur"]
            for each in runs
        ), arrow


def test_any_name_is_valid_json():
    name = 'a"b\\c\n</script>\u2028\ud800'
    failed = run(name)
    failed.outcome = RAISED
    (ran,) = of(events_of(failed), "X")
    assert (ran["name"], ran["args"]["outcome"]) == (name, RAISED)
