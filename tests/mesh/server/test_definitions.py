import errno

import pytest

from woolexec.errors import ProtocolError
from woolexec.mesh.link.arriving import Arriving
from woolexec.mesh.link.outbox import Outbox
from woolexec.mesh.server.byte_quota import ByteQuota
from woolexec.mesh.server.definitions import Definitions
from woolexec.mesh.server.kept_values import KeptValues
from woolexec.wire.frames import Define, Start


@pytest.fixture
def quota():
    return ByteQuota(1000)


@pytest.fixture
def definitions(quota):
    arriving = Arriving()
    return Definitions(arriving, quota, KeptValues(arriving, quota, Outbox(set())))


def test_call_finds_the_function_of_its_slot_in_its_lane(definitions):
    definitions.define(Define(function=3, payload=b"f", name="f"))
    plain, in_lane = (definitions.function(Start(function=3, lane=lane)) for lane in (0, 2))
    assert (plain.payload, in_lane.payload, plain.lane, in_lane.lane) == (b"f", b"f", 0, 2)
    assert plain.family is in_lane.family


def test_empty_slot_is_an_error(definitions):
    with pytest.raises(ProtocolError, match="slot 7 has no function"):
        definitions.function(Start(function=7))


def test_lane_that_there_is_not_is_an_error(definitions):
    definitions.define(Define(function=1))
    with pytest.raises(ProtocolError, match="no lane 5"):
        definitions.function(Start(function=1, lane=5))


def test_oldest_function_is_forgotten_with_its_bytes(definitions, quota):
    for slot in range(500):
        definitions.define(Define(function=slot, payload=b"x"))
    assert len(definitions.slots) == quota.size == 129
    assert 370 not in definitions.slots


def test_names_of_functions_count(definitions):
    definitions.define(Define(function=1, payload=b"x", name="n" * 600))
    with pytest.raises(ProtocolError, match="exceed the limit"):
        definitions.define(Define(function=2, payload=b"x", name="n" * 600))


def test_functions_that_are_too_large_together_are_refused(definitions):
    definitions.define(Define(function=1, payload=bytes(600)))
    definitions.define(Define(function=1, payload=bytes(900)))  # in its place
    with pytest.raises(ProtocolError, match="exceed the limit"):
        definitions.define(Define(function=2, payload=bytes(200)))


def test_span_refers_to_the_last_chunk_of_its_lane(definitions, quota):
    definitions.define(Define(function=1))
    for lane, size in ((0, 100), (2, 200), (0, 300)):
        function = definitions.function(Start(function=1, lane=lane))
        definitions.chunk(function, Start(call=(1,), payload=bytes(size), lane=lane), None)
    assert len(definitions.chunk(function, Start(call=(2,), again=True), None).payload) == 300
    assert len(definitions.chunk(function, Start(call=(2,), again=True, lane=2), None).payload) == 200
    assert quota.size == 500


@pytest.mark.parametrize("frame", [Start(call=(1,), again=True), Start(call=(1, 2))])
def test_span_without_its_chunk_or_of_several_calls_is_an_error(definitions, frame):
    with pytest.raises(ProtocolError, match="without its chunk"):
        definitions.chunk(None, frame, None)


def test_function_that_could_not_be_received_is_an_error(definitions, monkeypatch):
    monkeypatch.setattr(Arriving, "take", lambda arriving, frame: OSError(errno.EMFILE, "no descriptor"))
    with pytest.raises(OSError, match="no descriptor"):
        definitions.define(Define(function=1))
