import os
import signal
from dataclasses import replace

from woolexec.observe.metric_sources import EndedLinks, Sources
from woolexec.observe.metric_table import NOTHING
from woolexec.statistics import PeerStatistics, TaskStatistics


class Engine:
    """Stands in for an engine, and for its pool."""

    def __init__(self, **tasks):
        self._engine, self.stopped, self.forked = self, False, False
        self.found = replace(NOTHING, tasks=TaskStatistics(**tasks))

    def statistics(self):
        return self.found


def link(name, refused, sent, received):
    return PeerStatistics(f"{name}:7437", name, name, refused=refused, bytes_sent=sent, bytes_received=received)


def counted(links, *peers):
    found = links.added_to(replace(NOTHING, peers=peers)).peers
    return tuple(sum(getattr(each, name) for each in found) for name in ("refused", "bytes_sent", "bytes_received"))


def test_a_link_that_has_ended_stays_counted():
    links = EndedLinks()
    assert counted(links, link("a", 1, 20, 300), link("b", 1, 1, 1)) == (2, 21, 301)
    assert counted(links, link("b", 1, 2, 3)) == (2, 22, 303)
    assert counted(links) == (2, 22, 303)
    assert counted(links) == (2, 22, 303)


def test_a_link_that_was_made_anew_goes_on_from_what_the_last_one_had_counted():
    links = EndedLinks()
    assert counted(links, link("a", 4, 20, 300)) == (4, 20, 300)
    assert counted(links, link("a", 4, 5, 6)) == (4, 25, 306)  # the refusals are those of the peer, not of the link
    assert counted(links, link("a", 5, 6, 7)) == (5, 26, 307)


def test_a_pool_that_has_ended_is_asked_once_more_and_no_longer_held():
    sources, pool = Sources(), Engine(returned=1)
    sources.add(pool)
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 1
    pool.found, pool.stopped = replace(NOTHING, tasks=TaskStatistics(returned=5)), True
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 5
    pool.found = None
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 5
    sources.add(pool)
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 5


def test_pools_that_have_ended_are_let_go_when_others_come_even_if_nobody_asks():
    sources = Sources()
    for _ in range(1000):
        pool = Engine(returned=1)
        pool.stopped = True
        sources.add(pool)
    assert len(sources._pools) == 0
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 1000


def test_the_copy_of_a_pool_in_a_forked_child_is_left_out():
    sources, pool = Sources(), Engine(returned=1)
    sources.add(pool)
    pool.forked = True
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 0


def test_a_forked_child_does_not_count_again_what_pools_had_done_that_had_ended_before():
    sources, seen, unseen = Sources(), Engine(returned=1), Engine(returned=2)
    sources.add(seen)
    seen.stopped = True
    sources.add(unseen)
    unseen.stopped = True  # nobody has asked since
    child = os.fork()
    if not child:
        os._exit(int(sources.read()["woolexec_tasks_finished"]["returned"]))
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert sources.read()["woolexec_tasks_finished"]["returned"] == 3


class Forks(Engine):
    """Forks while it is asked, and so while somebody has the lock."""

    child = -1

    def statistics(self):
        if self.child < 0:
            self.child = os.fork()
            if not self.child:
                signal.alarm(10)  # instead of waiting without end
                self.sources.read()
                os._exit(0)
        return super().statistics()


def test_a_child_that_was_forked_while_somebody_asked_can_ask():
    pool = Forks(returned=1)
    pool.sources = Sources()
    pool.sources.add(pool)
    pool.sources.read()
    assert os.waitstatus_to_exitcode(os.waitpid(pool.child, 0)[1]) == 0
