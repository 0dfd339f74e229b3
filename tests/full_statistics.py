"""Statistics in which every field has a value."""

from woolexec.statistics import (
    Durations,
    FunctionStatistics,
    PeerStatistics,
    Statistics,
    TaskStatistics,
    ValueStatistics,
    WorkerStatistics,
)

FULL = Statistics(
    time=1000.0,
    pid=17,
    host="here",
    tasks=TaskStatistics(1, 20, 3, 4, 5000, 6, 7, 8, 9),
    functions=(
        FunctionStatistics(
            "tests.module.a_function_with_a_name_that_is_longer_than_there_is_room",
            count=5006,
            failures=6,
            lost=7,
            run=Durations(5006, 100.0, 0.001, 0.02, 0.4, 3.0, ((0.5, 5000), (4.0, 6))),
            wait=Durations(5006, 10.0, 0.0001, 0.002, 0.04, 0.3, ((0.5, 5006),)),
            bytes_in=12345,
            bytes_out=123456789,
        ),
        FunctionStatistics("never_ended", lost=1),
    ),
    workers=(
        WorkerStatistics(
            101, "here", "running", "task", 1.5, 3, "", 12, 30 << 20, 12.5, 900.0, progress=(2, 10, "text")
        ),
        WorkerStatistics(102, "here", "lost", ended=950.0, started=900.0, lost="was killed by SIGKILL"),
    ),
    peers=(PeerStatistics("node1:7437", "node1/abc", "node1", 8, 3, 2, round_trip=0.0012, bytes_sent=2000),),
    values=ValueStatistics(2, 3000, 1, 1 << 30, 4, 5),
    workers_lost={"SIGKILL": 1},
    stall=0.001,
)
