from dataclasses import replace
from types import SimpleNamespace

from tests.full_statistics import FULL
from woolexec.observe.metric_table import NOTHING
from woolexec.observe.peer_page import PeerView, together
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


def engine(*running):
    return SimpleNamespace(links=SimpleNamespace(end_task=lambda *about: about in running))


def test_a_task_that_is_cancelled_by_the_key_of_the_page_is_logged(caplog):
    caplog.set_level("INFO", "woolexec.peer")
    everybody = [(engine((4, 101)), "ada"), (engine((4, 102)), "bob\n")]
    loop = SimpleNamespace(ask=lambda question, default: question())
    acceptor = SimpleNamespace(everybody=lambda: everybody)
    view = PeerView(SimpleNamespace(_acceptor=acceptor, engine=SimpleNamespace(loop=loop)))
    assert not view.cancel(5, 102)
    assert caplog.messages == []
    assert view.cancel(4, 102)
    assert caplog.messages == [r"a program of this user has ended task 4 in worker 102, of bob\n"]
