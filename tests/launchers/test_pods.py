import pytest

from woolexec.discovery.base import Joined, Left, Record, Updated
from woolexec.launchers.pods import Pod, Pods

RECORD = Record("", ())


def ready(number, **options):
    options = {"address": f"10.0.0.{number}:7437", "is_ready": True} | options
    return Pod(options.pop("uid", f"u{number}"), f"w-{number}", **options)


def made(count=0, *, is_ordered=False):
    pods = Pods("w", is_ordered=is_ordered)
    return pods, pods.start(count)


def joined(events):
    return {each.record.key: each.record.addresses[0] for each in events if isinstance(each, Joined)}


def test_pods_are_peers_in_the_order_in_which_they_were_asked_for():
    pods, (one, two) = made(2)
    assert pods.replicas == 2
    assert joined(pods.see([ready(1), ready(2, is_ready=False)], RECORD)) == {one: "10.0.0.1:7437"}
    assert joined(pods.see([ready(1), ready(2)], RECORD)) == {two: "10.0.0.2:7437"}
    assert pods.see([ready(1), ready(2)], RECORD) == []


def test_pod_that_was_there_before_is_no_peer():
    pods, _ = made(1)
    pods.ignore([ready(1)])
    assert pods.see([ready(1)], RECORD) == []


def test_pod_that_stops_is_named_once_and_leaves_when_it_is_gone():
    pods, (one, two) = made(2)
    pods.see([ready(1), ready(2)], RECORD)
    pods.stop(one)
    assert pods.replicas == 1
    assert list(pods.stopping()) == ["w-1"]
    assert list(pods.stopping()) == []
    assert pods.see([ready(1, is_ending=True), ready(2)], RECORD) == []
    assert pods.see([ready(2)], RECORD) == [Left(one)]
    pods.stop(one)
    pods.stop(two)
    assert pods.replicas == 0


def test_name_of_a_pod_is_given_again_if_it_could_not_be_used():
    pods, (one,) = made(1)
    pods.see([ready(1)], RECORD)
    pods.stop(one)
    assert next(pods.stopping()) == "w-1"  # what came of it was an error
    assert list(pods.stopping()) == ["w-1"]


def test_peer_that_stops_before_its_pod_exists_leaves_at_once():
    pods, (one,) = made(1)
    pods.stop(one)
    assert pods.replicas == 0
    assert pods.see([], RECORD) == [Left(one)]


def test_pod_that_others_end_leaves_with_a_reason_and_its_place_is_kept_for_a_while():
    pods, (one,) = made(1)
    pods.see([ready(1)], RECORD)
    (left,) = pods.see([ready(1, is_ending=True, text="Evicted: disk pressure")], RECORD)
    assert (left.key, left.reason) == (one, "pod w-1 has ended: Evicted: disk pressure")
    assert pods.replicas == 1
    (two,) = pods.start(1)
    assert pods.replicas == 1
    assert joined(pods.see([ready(2)], RECORD)) == {two: "10.0.0.2:7437"}


def test_place_that_nobody_wants_is_given_up():
    pods, _ = made(1)
    pods.see([ready(1)], RECORD)
    pods.see([ready(1, is_over=True)], RECORD)
    for _ in range(10):
        pods.see([], RECORD)
    assert pods.replicas == 0


def test_pod_that_has_another_address_is_told():
    pods, (one,) = made(1)
    pods.see([ready(1)], RECORD)
    (event,) = pods.see([ready(1, address="10.0.0.9:7437")], RECORD)
    assert isinstance(event, Updated)
    assert (event.record.key, event.record.addresses) == (one, ("10.0.0.9:7437",))


def test_highest_pod_of_a_stateful_set_ends_first_and_others_wait_for_it():
    pods, (zero, one, two) = made(3, is_ordered=True)
    pods.see([ready(0), ready(1), ready(2)], RECORD)
    pods.stop(zero)
    pods.stop(one)
    assert pods.replicas == 3
    assert list(pods.stopping()) == []
    assert pods.start(1) == [zero]
    assert joined(pods.see([ready(0), ready(1), ready(2)], RECORD)) == {zero: "10.0.0.0:7437"}
    pods.stop(two)
    assert pods.replicas == 1
    assert pods.see([ready(0)], RECORD) == [Left(one), Left(two)]


def test_pod_that_takes_the_name_of_another_one_is_a_new_peer():
    pods, (zero,) = made(1, is_ordered=True)
    pods.see([ready(0)], RECORD)
    assert [each.key for each in pods.see([ready(0, uid="new")], RECORD)] == [zero]
    (again,) = pods.start(1)
    assert again != zero
    assert joined(pods.see([ready(0, uid="new")], RECORD)) == {again: "10.0.0.0:7437"}


@pytest.mark.parametrize(
    ("pod", "text"),
    [
        (None, "1 of its pods do not exist yet"),
        (Pod("u", "w-1", text="Unschedulable: no CPU"), "pod w-1: Unschedulable: no CPU"),
        (ready(1), ""),
    ],
)
def test_what_keeps_pods_from_being_peers_is_said(pod, text):
    pods, _ = made(1)
    pods.see([] if pod is None else [pod], RECORD)
    assert pods.trouble == text
