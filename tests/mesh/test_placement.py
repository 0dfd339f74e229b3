"""Where tasks go when there are several peers, and several clients of one peer."""

import contextlib
import itertools
import logging
import os
import time
from concurrent.futures import as_completed

import pytest

from tests.mesh import tasks
from tests.mesh.conftest import CREDENTIALS, PATIENCE, eventually, joined
from tests.mesh.tasks import mark, note, recurse
from woolexec import (
    LeastOutstanding,
    PeerPoolExecutor,
    PowerOfTwoChoices,
    RoundRobin,
    UnsatisfiableError,
)
from woolexec.core import admission
from woolexec.core.remote_place import RemotePlace
from woolexec.discovery.urls import discoveries, discovery
from woolexec.mesh.server.peer import Peer


def peers(*settings):
    """Peers of one worker each, with these settings."""
    stack = contextlib.ExitStack()
    made = [stack.enter_context(Peer(1, credentials=CREDENTIALS, **more)) for more in settings]
    return stack, made


def announced(folder, **settings):
    """A peer of one worker that can be found in this folder."""
    (folder / "peers").mkdir(exist_ok=True)
    return Peer(1, credentials=CREDENTIALS, announce=[discovery(f"dir:{folder}/peers")], **settings)


def pool_of(folder, local=0):
    """A pool of those that are found there, beside `local` workers of its own."""
    return PeerPoolExecutor(local, peers=f"dir:{folder}/peers", credentials=CREDENTIALS)


def behind_a_long_task(pool, folder):
    """A task that is held, and others that were sent ahead behind it."""
    for _ in range(50):  # now it is known to be short, and is sent ahead
        pool.submit(tasks.hold_if, folder, "").result(PATIENCE)
    with pytest.MonkeyPatch.context() as patch:
        # Else neither the client nor the peer has more of them wait behind it, after a while.
        patch.setattr(RemotePlace, "note_overdue", lambda *_: None)
        patch.setattr(admission, "_LATE", PATIENCE)
        held = pool.submit(tasks.hold_if, folder, "held")
        behind = [pool.submit(tasks.hold_if, folder, "") for _ in range(20)]
        eventually(lambda: pool._engine.counts["outstanding"] == 21)
    return held, behind


def workers_of(*peers):
    """The process ids of the workers of each peer, whose workers run."""
    return [set(peer.engine.pids) for peer in peers]


def test_task_that_finds_a_peer_full_waits_at_its_client_and_runs_when_there_is_room(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        held = one.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        waiting = [other.submit(os.getpid) for _ in range(3)]
        (link,) = other._peers.links
        eventually(lambda: link.candidate.is_full)
        assert other._engine.counts["outstanding"] == 0
        (tmp_path / "release").touch()
        held.result(PATIENCE)
        assert {future.result(PATIENCE) for future in waiting} <= set(peer.engine.pids)


def test_task_that_a_full_peer_has_refused_goes_to_another(tmp_path):
    stack, (full, free) = peers({}, {})
    with stack, joined(full) as one, joined(full, free) as other:
        held = one.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        assert len({other.submit(os.getpid).result(PATIENCE) for _ in range(10)}) == 1
        (tmp_path / "release").touch()


def test_client_that_was_refused_too_often_offers_again_after_a_pause():
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        (link,) = pool._peers.links

        def be_refused():
            link.candidate.refused()
            link.candidate.is_full = False
            pool._engine.scheduler.offering.may_try = False

        pool._engine._loop.tell(be_refused)
        assert pool.submit(abs, -1).result(PATIENCE) == 1


def test_refused_task_can_be_cancelled(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        held = one.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        waiting = other.submit(os.getpid)
        assert waiting.cancel()
        (tmp_path / "release").touch()


@pytest.mark.slow
def test_all_clients_get_their_work_done_while_they_contend(tmp_path):
    with Peer(2, credentials=CREDENTIALS) as peer, contextlib.ExitStack() as stack:
        pools = [stack.enter_context(joined(peer)) for _ in range(4)]
        futures = [pool.submit(time.sleep, 0.05) for _ in range(10) for pool in pools]
        short = [pool.submit(divmod, n, 7) for n in range(500) for pool in pools]
        assert all(future.result(PATIENCE) is None for future in futures)
        assert [future.result(PATIENCE) for future in short] == [divmod(n, 7) for n in range(500) for _ in pools]
        assert not peer._acceptor.places.admission.has_waiting
        assert peer._acceptor.places.admission.free == 2


def test_call_that_was_expected_to_be_short_and_is_long_takes_a_place_until_it_ends(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as pool:
        for _ in range(3):
            pool.submit(tasks.hold_if, tmp_path, "").result(PATIENCE)
        more = [pool.submit(tasks.hold_if, tmp_path, name) for name in ("held", "", "")]
        eventually(lambda: peer._acceptor.places.admission._long)
        assert peer._acceptor.places.admission.free == 0
        (tmp_path / "release").touch()
        for future in more:
            future.result(PATIENCE)
        eventually(lambda: peer._acceptor.places.admission.free == 1)
        assert not peer._acceptor.places.admission._long


def test_client_that_ends_while_it_waits_leaves_nothing_behind(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as one:
        held = one.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        with joined(peer) as other:
            other.submit(os.getpid)
            eventually(lambda: peer._acceptor.places.admission.has_waiting)
            other.shutdown(wait=False, cancel_futures=True)
        eventually(lambda: not peer._acceptor.places.admission.has_waiting)
        (tmp_path / "release").touch()
        held.result(PATIENCE)
        eventually(lambda: peer._acceptor.places.admission.free == 1)


def test_task_runs_where_its_tag_is():
    stack, made = peers({"tags": ["zone=a"]}, {"tags": ["zone=b"]})
    with stack, joined(*made) as pool:
        where = {zone: pool.with_options(require={"zone": zone}) for zone in "ab"}
        ran = {zone: {where[zone].submit(os.getpid).result(PATIENCE) for _ in range(5)} for zone in "ab"}
        assert [ran["a"], ran["b"]] == workers_of(*made)
        assert list(where["b"].map(pow, range(50), range(50))) == [n**n for n in range(50)]


def test_coroutine_runs_where_its_tag_is():
    stack, made = peers({"tags": ["zone=a"]}, {"tags": ["zone=b"]})
    with stack, joined(*made) as pool:
        view = pool.with_options(require={"zone": "b"})
        assert {view.submit(tasks.pid_of).result(PATIENCE) for _ in range(10)} == workers_of(*made)[1]


def test_resource_is_never_given_out_twice(tmp_path):
    with Peer(4, credentials=CREDENTIALS, resources={"gpu": 1}) as peer, joined(peer) as one, joined(peer) as other:
        futures = [
            pool.with_options(require={"gpu": 1}).submit(mark, tmp_path, f"{n}-{name}")
            for n in range(10)
            for name, pool in (("one", one), ("other", other))
        ]
        assert [future.result(PATIENCE) for future in futures] == [1] * 20


@pytest.mark.slow
def test_nested_task_gets_what_it_requires(tmp_path):
    with Peer(2, credentials=CREDENTIALS, resources={"gpu": 1}) as peer, joined(peer) as pool:
        assert pool.submit(tasks.nest_with, {"gpu": 1}).result(PATIENCE) in workers_of(peer)[0]
        with pytest.raises(UnsatisfiableError, match=r"no peer offers tpu>=1 \(seen: here: gpu=1\)"):
            pool.submit(tasks.nest_with, {"tpu": 1}).result(PATIENCE)


def test_requirement_that_nobody_meets_fails_and_says_what_was_seen_and_keeps_nobody_else():
    with Peer(1, credentials=CREDENTIALS, tags=["zone=a"], resources={"gpu": 1}) as peer, joined(peer) as pool:
        futures = [pool.with_options(require=wanted).submit(os.getpid) for wanted in ({"gpu": 2}, {"zone": "b"})]
        coroutine = pool.with_options(require={"gpu": 2}).submit(tasks.pid_of)
        assert pool.submit(os.getpid).result(PATIENCE)
        with pytest.raises(UnsatisfiableError, match=r"no peer offers gpu>=2 .*gpu=1, zone=a.*--resource gpu=2"):
            futures[0].result(PATIENCE)
        with pytest.raises(UnsatisfiableError, match=r"no peer offers zone=b .*--tag zone=b"):
            futures[1].result(PATIENCE)
        assert isinstance(coroutine.exception(PATIENCE), UnsatisfiableError)
        assert pool.submit(os.getpid).result(PATIENCE)


def test_pool_without_peers_meets_no_requirement():
    with PeerPoolExecutor(1) as pool:
        with pytest.raises(UnsatisfiableError, match="no peers seen"):
            pool.with_options(require={"gpu": 1}).submit(os.getpid).result(PATIENCE)
        assert pool.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)


def test_task_waits_for_a_peer_that_offers_what_it_requires(tmp_path, monkeypatch):
    monkeypatch.setattr("woolexec.core.unmet.SEEN", 10.0)
    with announced(tmp_path), pool_of(tmp_path) as pool, contextlib.ExitStack() as stack:
        pool.wait_for_peers(1, PATIENCE)
        future = pool.with_options(require={"zone": "b"}).submit(os.getpid)
        late = stack.enter_context(announced(tmp_path, tags=["zone=b"]))
        assert future.result(PATIENCE) in workers_of(late)[0]


def test_near_is_preferred_to_workers_here_and_only_that():
    stack, made = peers({"tags": ["data=x"]}, {"tags": ["data=y"]})
    with stack, joined(*made, local=1) as pool:
        view = pool.with_options(near="data=y")
        assert {view.submit(os.getpid).result(PATIENCE) for _ in range(5)} == workers_of(made[1])[0]
        assert pool.with_options(near="data=z").submit(os.getpid).result(PATIENCE)


@pytest.mark.parametrize("remote", [False, True])
def test_tasks_of_higher_priority_start_first(tmp_path, remote):
    with contextlib.ExitStack() as stack:
        peer = stack.enter_context(Peer(1, credentials=CREDENTIALS)) if remote else None
        pool = stack.enter_context(joined(peer) if remote else PeerPoolExecutor(1))
        held = pool.submit(tasks.hold, tmp_path, "held")
        eventually((tmp_path / "held").exists)
        order = [0, -1, 3, 0, 7, -5]
        futures = [
            pool.with_options(priority=priority).submit(note, tmp_path / "order", str(priority)) for priority in order
        ]
        (tmp_path / "release").touch()
        for future in [held, *futures]:
            future.result(PATIENCE)
    assert (tmp_path / "order").read_text().split() == [str(priority) for priority in sorted(order, reverse=True)]


@pytest.mark.slow
@pytest.mark.parametrize("policy", [RoundRobin, LeastOutstanding, PowerOfTwoChoices])
def test_policy_uses_every_peer(policy):
    stack, made = peers({}, {}, {})
    with stack:
        pool = PeerPoolExecutor(peers=[peer.address for peer in made], credentials=CREDENTIALS, placement=policy())
        with pool:
            pool.wait_for_peers(3, PATIENCE)
            futures = [pool.submit(tasks.pid_after, 0.01) for _ in range(60)]
            assert {future.result(PATIENCE) for future in futures} == set.union(*workers_of(*made))


class Recording:
    """Always the first by name; remembers what it was asked and told."""

    def __init__(self):
        self.asked, self.told = [], []

    def choose(self, candidates, task):
        self.asked.append(task)
        return min(candidates, key=lambda candidate: candidate.name)

    def done(self, candidate, seconds):
        self.told.append((candidate.name, seconds))


def test_policy_of_ones_own_chooses_and_is_told_of_the_end():
    stack, made = peers({}, {})
    policy = Recording()
    with stack:
        pool = PeerPoolExecutor(peers=[peer.address for peer in made], credentials=CREDENTIALS, placement=policy)
        with pool:
            pool.wait_for_peers(2, PATIENCE)
            first = min(made, key=lambda peer: peer.identity)
            assert {pool.submit(os.getpid).result(PATIENCE) for _ in range(5)} == workers_of(first)[0]
    assert len(policy.asked) >= 5  # again for one that is taken back from a peer that is slow to begin
    assert set(policy.asked) == {"getpid"}
    assert [name.rpartition("/")[2] for name, _ in policy.told] == [first.identity[:8]] * 5


class Broken:
    """Gets everything wrong."""

    def choose(self, candidates, task):
        return "somewhere"

    def done(self, candidate, seconds):
        raise LookupError("nobody is told")


def test_policy_that_fails_costs_no_task_and_is_complained_of_once(caplog):
    stack, made = peers({}, {})
    with stack:
        pool = PeerPoolExecutor(peers=[peer.address for peer in made], credentials=CREDENTIALS, placement=Broken())
        with pool, caplog.at_level(logging.ERROR, "woolexec"):
            pool.wait_for_peers(2, PATIENCE)
            assert [pool.submit(divmod, n, 7).result(PATIENCE) for n in range(10)] == [divmod(n, 7) for n in range(10)]
    (record,) = caplog.records
    assert record.getMessage().startswith("a placement policy failed: Traceback")
    assert record.getMessage().endswith("ValueError: 'somewhere' is not one of the candidates")


def test_what_waits_behind_a_long_task_is_taken_back_for_a_peer_that_is_idle(tmp_path):
    with announced(tmp_path) as busy, pool_of(tmp_path) as pool, contextlib.ExitStack() as stack:
        pool.wait_for_peers(1, PATIENCE)
        held, behind = behind_a_long_task(pool, tmp_path)
        idle = stack.enter_context(announced(tmp_path))
        assert {future.result(PATIENCE) for future in behind} <= workers_of(idle)[0]
        (tmp_path / "release").touch()
        assert held.result(PATIENCE) in workers_of(busy)[0]


def test_what_waits_behind_a_long_task_here_goes_to_a_peer_that_is_idle(tmp_path):
    (tmp_path / "peers").mkdir()
    with pool_of(tmp_path, local=1) as pool, contextlib.ExitStack() as stack:
        held, behind = behind_a_long_task(pool, tmp_path)
        idle = stack.enter_context(announced(tmp_path))
        assert {future.result(PATIENCE) for future in behind} <= workers_of(idle)[0]
        (tmp_path / "release").touch()
        assert held.result(PATIENCE) in pool._engine.pids


@pytest.mark.parametrize("by_map", [False, True])
@pytest.mark.parametrize("local", [0, 1])
def test_no_task_waits_behind_long_ones_while_a_worker_is_free_anywhere(tmp_path, local, by_map):
    long = [f"held{number}" for number in range(3 + local)]  # of one peer they may take all places, and leave one free
    names = [name for each in long for name in (each, *[""] * 10)]
    with contextlib.ExitStack() as stack:
        both = [stack.enter_context(Peer(2, credentials=CREDENTIALS)) for _ in range(2)]
        pool = stack.enter_context(joined(*both, local=local))
        for _ in range(60):  # now they are known to be short, and are sent ahead
            pool.submit(tasks.hold_if, tmp_path, "").result(PATIENCE)
        if by_map:  # the retries have each item be a call
            alone = pool.with_options(retries=1)
            done = alone.map(tasks.hold_if, [tmp_path] * len(names), names, ordered=False, timeout=PATIENCE)
        else:
            done = as_completed([pool.submit(tasks.hold_if, tmp_path, name) for name in names], PATIENCE)
        assert len(list(itertools.islice(done, 10 * len(long)))) == 10 * len(long)
        (tmp_path / "release").touch()
        assert len(list(done)) == len(long)


def test_nested_tasks_go_from_peer_to_peer_and_those_of_clients_do_not(tmp_path):
    with contextlib.ExitStack() as stack:
        other = stack.enter_context(Peer(1, credentials=CREDENTIALS))
        first = stack.enter_context(Peer(1, credentials=CREDENTIALS, peers=discoveries(other.address)))
        pool = stack.enter_context(joined(first))
        nested = pool.submit(tasks.nest_two_that_meet, tmp_path).result(PATIENCE)
        here, there = workers_of(first, other)
        assert set(nested) == here | there
        futures = [pool.submit(tasks.pid_after, 0.02) for _ in range(6)]
        futures += [pool.submit(tasks.pid_of) for _ in range(20)]
        assert {future.result(PATIENCE) for future in futures} == here


def test_peers_that_find_each_other_do_not_link_to_themselves(tmp_path):
    both = [discovery(f"dir:{tmp_path}/peers")]
    (room := tmp_path / "room").mkdir()
    with announced(tmp_path, peers=both) as one, announced(tmp_path, peers=both) as other, joined(one) as pool:
        here, there = pool.submit(tasks.nest_two_that_meet, room).result(PATIENCE)
        assert here != there
        (tenant,) = one._acceptor.tenants
        eventually(lambda: len(tenant.peers._attempts.candidates.known) == 2)
        assert [link.name.rpartition("/")[2] for link in tenant.peers.links] == [other.identity[:8]]


def test_recursion_over_two_peers_of_one_worker_each_finishes(tmp_path):
    both = [discovery(f"dir:{tmp_path}/peers")]
    with announced(tmp_path, peers=both) as one, announced(tmp_path, peers=both), joined(one) as pool:
        for _ in range(20):
            pool.submit(recurse, 0).result(PATIENCE)
        assert [pool.submit(recurse, 6).result(PATIENCE) for _ in range(3)] == [64] * 3


def test_run_on_all_reaches_every_worker_whatever_is_required():
    with Peer(3, credentials=CREDENTIALS, resources={"gpu": 1}) as peer, joined(peer) as pool:
        found = pool.with_options(require={"gpu": 1}).run_on_all(os.getpid)
        assert {future.result(PATIENCE) for future in found.values()} == set(peer.engine.pids)


@pytest.mark.slow
def test_requirement_that_makes_no_sense_in_a_task_fails_that_task_alone(tmp_path):
    with PeerPoolExecutor(1) as pool:
        with pytest.raises(UnsatisfiableError, match="zone=a>=b"):
            pool.submit(tasks.nest_with, {"zone": "a>=b"}).result(PATIENCE)
        assert pool.submit(divmod, 7, 2).result(PATIENCE) == (3, 1)


@pytest.mark.slow
def test_client_whose_resource_is_taken_is_not_told_again_and_again(tmp_path):
    with Peer(4, credentials=CREDENTIALS, resources={"gpu": 1}) as peer, joined(peer) as one, joined(peer) as other:
        held = one.with_options(require={"gpu": 1}).submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        waiting = other.with_options(require={"gpu": 1}).submit(os.getpid)
        (link,) = other._peers.links
        eventually(lambda: link.candidate.is_full)
        heard = other._engine.scheduler.offering.heard
        assert one.submit(time.sleep, 0.2).result(PATIENCE) is None
        assert other._engine.scheduler.offering.heard == heard
        (tmp_path / "release").touch()
        assert waiting.result(PATIENCE)


def test_refused_tasks_keep_their_order(tmp_path):
    with Peer(1, credentials=CREDENTIALS) as peer, joined(peer) as one, joined(peer) as other:
        held = one.submit(tasks.hold, tmp_path, "held")
        eventually(held.running)
        futures = [other.submit(note, tmp_path / "order", str(number)) for number in range(8)]
        eventually(lambda: other._peers.links[0].candidate.is_full)
        (tmp_path / "release").touch()
        for future in futures:
            future.result(PATIENCE)
    assert (tmp_path / "order").read_text().split() == [str(number) for number in range(8)]
