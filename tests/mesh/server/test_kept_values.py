import errno

import pytest

from woolexec.core.call import Call, Function
from woolexec.errors import ProtocolError
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server import kept_values
from woolexec.mesh.server.byte_quota import ByteQuota
from woolexec.mesh.server.kept_values import KeptValues
from woolexec.mesh.server.stays import Stays
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Drop, Fetch, Keep, Pull
from woolexec.wire.payload import Parts, store
from woolexec.wire.values import LEAST_KEPT


@pytest.fixture
def quota():
    return ByteQuota(100)


@pytest.fixture
def values(quota):
    return KeptValues(Arriving(), quota, Outbox(set()))


@pytest.fixture
def handed_on():
    return []


def call(values, *numbers):
    return Call(Function(b"f", "f"), values.bind(b"arguments", numbers), None)


def test_call_whose_values_are_there_is_handed_on_at_once(values, handed_on):
    values.keep(Keep(value=7, payload=b"seven"))
    made = call(values, 7)
    values.hand_on(made, handed_on.append)
    assert handed_on == [made]
    assert [value.payload for value in made.payload.values] == [b"seven"]


def test_call_waits_for_the_last_of_its_values(values, handed_on):
    made = call(values, 1, 2)
    values.hand_on(made, handed_on.append)
    values.keep(Keep(value=2, payload=b"two"))
    assert handed_on == []
    values.keep(Keep(value=1, payload=b"one"))
    assert handed_on == [made]


def test_call_without_values_is_as_it_was(values, handed_on):
    made = call(values)
    assert made.payload == b"arguments"
    values.hand_on(made, handed_on.append)
    assert handed_on == [made]


def test_call_that_waits_is_withdrawn(values, handed_on):
    made = call(values, 1)
    values.hand_on(made, handed_on.append)
    assert values.withdraw(made)
    assert not values.withdraw(made)
    values.keep(Keep(value=1, payload=b"one"))
    assert handed_on == []


def test_dropped_value_stays_for_a_call_that_has_it_and_frees_its_bytes_then(values, quota):
    values.keep(Keep(value=1, payload=bytes(60)))
    made = call(values, 1)
    values.drop(Drop(value=(1,)))
    assert len(values) == 0
    assert len(made.payload.values[0].payload) == quota.size == 60
    del made
    assert quota.size == 0


def test_very_many_values_are_dropped_step_by_step(values):
    for number in range(300):
        values.keep(Keep(value=number, payload=b""))
    steps = values.drop(Drop(value=tuple(range(300))))
    assert len(values) == 200
    next(steps)
    assert len(values) == 199
    assert len(list(steps)) == 199
    assert len(values) == 0


def test_values_that_are_too_large_together_are_refused_and_one_alone_is_not(values):
    values.keep(Keep(value=1, payload=bytes(150)))
    with pytest.raises(ProtocolError, match="values of 60 bytes"):
        values.keep(Keep(value=2, payload=bytes(60)))


def test_dropped_values_that_calls_have_count_until_the_calls_end(values, quota):
    calls = []
    with pytest.raises(ProtocolError, match="exceed the limit"):
        for number in range(9):
            values.keep(Keep(value=number, payload=bytes(60)))
            calls.append(call(values, number))
            values.drop(Drop(value=(number,)))
    assert len(calls) == 1
    assert quota.size == 60
    calls.clear()
    assert quota.size == 0
    values.keep(Keep(value=1, payload=bytes(150)))  # alone again


def test_value_that_comes_is_compared_with_the_calls_that_lack_it_alone(values, handed_on):
    seen = []

    class Counted(list):
        def __iter__(self):
            seen.append(self)
            return super().__iter__()

    calls = [call(values, 1, number) for number in range(2, 50)]
    for each in calls:
        each.payload.values = Counted(each.payload.values)
        values.hand_on(each, handed_on.append)
    seen.clear()
    values.keep(Keep(value=7, payload=b"seven"))
    values.keep(Keep(value=1, payload=b"one"))
    assert handed_on == [calls[5]]
    assert not seen
    assert all(values.withdraw(each) for each in calls if each is not calls[5])
    assert not values._lacking


def test_client_has_so_many_values_and_no_more(values, monkeypatch):
    monkeypatch.setattr(kept_values, "VALUES", 3)
    call(values, 1, 2, 3)
    with pytest.raises(ProtocolError, match="more than 3 values"):
        call(values, 4)


def test_value_that_could_not_be_received_is_an_error(values, monkeypatch):
    error = OSError(errno.EMFILE, "none left")
    monkeypatch.setattr(Arriving, "take", lambda self, frame, key=0: error)
    with pytest.raises(OSError, match="none left"):
        values.keep(Keep(value=1))


# -- outcomes that stay -----------------------------------------------------------------------------------------------


LARGE = b"\x80\x05" + bytes(LEAST_KEPT)


@pytest.fixture
def outbox():
    return Outbox(set())


@pytest.fixture
def room(outbox):
    return KeptValues(Arriving(), ByteQuota(6 * LEAST_KEPT), outbox)


def test_outcome_stays_while_there_is_room(room):
    assert room.stay(1, LARGE)
    assert room.stay(2, LARGE)
    assert room.stay(3, LARGE) is None  # half of it is for values that are sent
    room.drop(Drop(value=(1,)))
    assert room.stay(3, LARGE)


@pytest.mark.parametrize("payload", [b"small", LARGE + b"\x8c\x08__main__\x8c\x04Mine\x93."])
def test_outcome_that_is_small_or_about_the_script_goes_home(room, payload):
    assert room.stay(1, payload) == b""
    assert len(room) == 0


def test_outcome_with_a_large_pickle_goes_home_and_one_with_a_large_buffer_stays(room, monkeypatch):
    monkeypatch.setattr(kept_values, "_LOOKED_AT", 100)
    assert not room.stay(1, LARGE)
    assert not room.stay(1, Parts([LARGE]))
    assert room.stay(1, Parts([b"\x80\x05", LARGE]))


def test_outcomes_of_all_clients_share_the_limit(outbox):
    stays = Stays(3 * LEAST_KEPT)
    clients = [KeptValues(Arriving(), ByteQuota(1 << 30), outbox, stays=stays) for _ in range(3)]
    assert clients[0].stay(1, LARGE)
    assert clients[1].stay(1, LARGE)
    assert clients[2].stay(1, LARGE) is None
    clients[1].clear()
    assert clients[2].stay(1, LARGE)
    clients[2].drop(Drop(value=(1,)))
    clients[0].clear()
    assert stays.size == 0


def test_outcome_in_a_file_is_read_into_memory_when_descriptors_are_scarce(room, monkeypatch):
    monkeypatch.setattr(kept_values, "is_scarce", lambda fd: True)
    assert room.stay(1, store([LARGE]))
    assert isinstance(room.bind(b"", [1]).values[0].payload, Parts)


def test_outcome_that_cannot_be_read_goes_home(room):
    file = store([LARGE])
    file.extent = (1 << 40,)
    room._quota = ByteQuota(1 << 50)
    assert not room.stay(1, file)


def test_calls_use_what_stayed(room, handed_on):
    room.stay(1, LARGE)
    room.hand_on(call(room, 1), handed_on.append)
    assert len(handed_on) == 1


def test_what_is_asked_for_is_sent_or_said_not_to_be_there(room, outbox):
    room.stay(1, LARGE)
    for number in (1, 2):
        room.fetch(Fetch(value=(number,)))
    keep, drop = (frame for data in outbox._frames for frame in decode(data))
    assert (keep.value, keep.payload) == (1, LARGE)
    assert drop == Drop(value=(2,))
    assert len(room) == 1


@pytest.mark.parametrize("numbers", [(), (1, 1)])
def test_one_value_is_asked_for_at_a_time(room, numbers):
    with pytest.raises(ProtocolError, match="other than one value"):
        room.fetch(Fetch(value=numbers))


def test_what_is_asked_for_again_and_again_takes_no_more_memory(monkeypatch, room, outbox):
    monkeypatch.setattr(kept_values, "_AHEAD", len(LARGE))
    room.stay(1, LARGE)
    for _ in range(1000):
        room.fetch(Fetch(value=(1,)))
    assert outbox.unsent <= 3 * len(LARGE)


@pytest.mark.parametrize("asked", [{"value": (2,)}, {"value": (1,), "key": bytes(1 << 20)}])
def test_who_asks_for_what_is_not_here_takes_no_memory(monkeypatch, room, outbox, asked):
    monkeypatch.setattr(kept_values, "_AHEAD", -1)  # as if nothing were read
    for _ in range(10):
        room.fetch(Fetch(**asked))
    assert len(outbox._frames) == 10
    assert not room._asked


def test_number_of_values_that_are_asked_for_at_once_is_bounded(monkeypatch, room):
    monkeypatch.setattr(kept_values, "_AHEAD", -1)
    monkeypatch.setattr(kept_values, "VALUES", 10)
    key = room.stay(1, LARGE)
    with pytest.raises(ProtocolError, match="more than 10 values"):
        for number in range(20):
            room.fetch(Fetch(value=(number,), key=key))


def test_value_that_is_shared_again_and_again_has_one_key(values):
    for _ in range(3):
        values.keep(Keep(value=1, payload=b"one", share=True))
    answers = [frame for data in values._outbox._frames for frame in decode(data)]
    assert len({frame.key for frame in answers}) == 1
    assert len(answers) == 3


@pytest.mark.parametrize(
    "name",
    [
        {"key": bytes(1 << 20), "address": "127.0.0.1:1", "identity": "x"},
        {"key": bytes(16), "address": "a" * 1000, "identity": "x"},
        {"key": bytes(16), "address": "127.0.0.1:1", "identity": "x" * 1000},
    ],
)
def test_name_of_any_length_is_not_passed_on(room, outbox, name):
    room._fetching = object()
    room.pull(Pull(value=1, **name))
    assert [decode(data) for data in outbox._frames] == [[Drop(value=(1,))]]
