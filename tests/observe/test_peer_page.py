from dataclasses import replace

from tests.full_statistics import FULL
from woolexec.observe.metric_table import NOTHING
from woolexec.observe.peer_page import together
from woolexec.statistics import FunctionStatistics, PeerStatistics, TaskStatistics, ValueStatistics, WorkerStatistics


def test_one_client_is_as_it_was_but_for_whose_it_is():
    made = together([("ada", FULL)], replace(NOTHING, time=FULL.time, pid=FULL.pid, host=FULL.host))
    assert made.tasks == FULL.tasks
    assert made.values == FULL.values
    assert made.workers_lost == FULL.workers_lost
    assert [each.name for each in made.functions] == [f"{each.name} of ada" for each in FULL.functions]
    assert [replace(each, name="") for each in made.functions] == [replace(each, name="") for each in FULL.functions]
    assert [each.task for each in made.workers] == [each.task and f"{each.task} of ada" for each in FULL.workers]
    assert made.peers == FULL.peers


def test_functions_of_the_same_name_stay_apart_and_counts_are_summed():
    one = replace(NOTHING, tasks=TaskStatistics(running=1, returned=2), workers_lost={"exit": 1})
    one = replace(one, functions=(FunctionStatistics("f", 2),), workers=(WorkerStatistics(1, "h", "running", "f"),))
    other = replace(one, values=ValueStatistics(bytes=5), workers=(WorkerStatistics(2, "h", "idle"),))
    own = PeerStatistics("here", "", "h", refused=4)
    made = together([("ada", one), ("bob", other)], replace(NOTHING, peers=(own,), values=ValueStatistics(bytes=1)))
    assert (made.tasks, made.values) == (TaskStatistics(running=2, returned=4), ValueStatistics(bytes=6))
    assert {each.name for each in made.functions} == {"f of ada", "f of bob"}
    assert [each.task for each in made.workers] == ["f of ada", ""]
    assert (made.workers_lost, made.peers) == ({"exit": 2}, (own,))


def test_nobody_is_there():
    assert together([], NOTHING) == NOTHING
