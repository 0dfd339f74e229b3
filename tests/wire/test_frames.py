"""Our encoding, compared with protobuf's."""

from random import Random

import pytest
from google.protobuf.descriptor import FieldDescriptor as Field

from tests.wire.frames import batch, random_batch, random_frame, twin
from woolexec.wire import protobuf
from woolexec.wire import wire_pb2 as pb
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import KINDS, Options, encode
from woolexec.wire.status_frames import Status
from woolexec.wire.trace_frames import Trace  # which adds its kinds to the others

assert {Status, Trace} <= set(KINDS.values())

ROUNDS = 60


@pytest.mark.parametrize("number", KINDS)
def test_encoded_frame_is_what_protobuf_writes(number):
    random = Random(number)
    for _ in range(ROUNDS):
        frame = random_frame(random, number)
        assert encode(frame) == pb.Batch(frames=[twin(frame)]).SerializeToString(deterministic=True)


@pytest.mark.parametrize("number", KINDS)
def test_frame_that_protobuf_wrote_is_decoded(number):
    random = Random(number + 100)
    for _ in range(ROUNDS):
        frame = random_frame(random, number)
        assert decode(pb.Batch(frames=[twin(frame)]).SerializeToString()) == [frame]


def test_protobuf_reads_what_we_write():
    random = Random(1)
    for _ in range(ROUNDS):
        frames = random_batch(random)
        assert list(pb.Batch.FromString(batch(frames)).frames) == list(map(twin, frames))


def test_batches_joined_end_to_end_are_one_batch():
    random = Random(2)
    for _ in range(ROUNDS):
        one, other = random_batch(random), random_batch(random)
        assert decode(batch(one) + batch(other)) == one + other


def test_frames_are_those_of_the_schema():
    assert {number: cls.__name__ for number, cls in KINDS.items()} == {
        number: field.message_type.name for number, field in pb.Frame.DESCRIPTOR.fields_by_number.items()
    }


SCHEMA = {
    protobuf.UINT: (Field.TYPE_UINT32, int, {"int"}),
    protobuf.SINT: (Field.TYPE_SINT32, int, {"int"}),
    protobuf.BOOL: (Field.TYPE_BOOL, bool, {"bool"}),
    protobuf.FIXED64: (Field.TYPE_FIXED64, int, {"int"}),
    protobuf.DOUBLE: (Field.TYPE_DOUBLE, float, {"float"}),
    protobuf.FLOAT: (Field.TYPE_FLOAT, float, {"float"}),
    protobuf.BYTES: (Field.TYPE_BYTES, bytes, {"Any", "bytes"}),
    protobuf.BLOB: (Field.TYPE_BYTES, bytes, {"bytes"}),
    protobuf.STRING: (Field.TYPE_STRING, str, {"str"}),
    protobuf.FIXED64S: (Field.TYPE_FIXED64, list, {"tuple[int, ...]"}),
    protobuf.FIXED32S: (Field.TYPE_FIXED32, list, {"tuple[int, ...]"}),
    protobuf.FLOATS: (Field.TYPE_FLOAT, list, {"tuple[float, ...]"}),
    protobuf.STRINGS: (Field.TYPE_STRING, list, {"tuple[str, ...]"}),
}
"""By kind: the type in the schema, the type of protobuf's values, and the annotations of the attribute."""


@pytest.mark.parametrize("cls", [*KINDS.values(), Options])
def test_fields_are_those_of_the_schema(cls):
    schema, message = getattr(pb, cls.__name__).DESCRIPTOR, getattr(pb, cls.__name__)()
    assert {tag >> 3: name for tag, (name, _) in cls.BY_TAG.items()} == {
        number: field.name for number, field in schema.fields_by_number.items()
    }
    for name, (tag, kind) in cls.FIELDS.items():
        field, value = schema.fields_by_name[name], getattr(message, name)
        if kind not in SCHEMA:
            assert (name, field.message_type.name) == ("options", "Options")
            continue
        assert protobuf.read_varint(tag, 0)[0] >> 3 == field.number
        found = field.type, list if hasattr(value, "append") else type(value), cls.__annotations__[name]
        assert found[:2] == SCHEMA[kind][:2], name
        assert found[2] in SCHEMA[kind][2], name
