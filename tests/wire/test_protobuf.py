import struct

import pytest

from woolexec.wire import protobuf
from woolexec.wire.fast_frames import decode
from woolexec.wire.frames import Recall, Stop
from woolexec.wire.payload import APART
from woolexec.wire.protobuf import BYTES, FIXED32S, FIXED64S, FLOATS, SINT, STRINGS, UINT, Message, nested, varint


class Inner(Message):
    number = UINT(1)


class Outer(Message):
    number = UINT(1)
    change = SINT(2)
    texts = STRINGS(3)
    inner = nested(Inner)(4)
    payload = BYTES(5)
    extent = FIXED32S(20)


def again(message):
    body = message.body()
    return type(message).parse(body, 0, len(body))


def test_unknown_fields_are_skipped():
    unknown = b"".join(
        (
            varint(100 << 3 | 0) + varint(2**63),
            varint(101 << 3 | 1) + bytes(8),
            varint(102 << 3 | 2) + varint(3) + b"abc",
            varint(103 << 3 | 5) + bytes(4),
        )
    )
    body = Recall(call=9, waiting=4).body()
    inner = varint(5 << 3 | 2) + varint(len(unknown) * 2 + len(body)) + unknown + body + unknown

    assert decode(b"\n" + varint(len(inner)) + inner) == [Recall(call=9, waiting=4)]


def test_frames_compare_by_their_fields():
    assert Recall(call=1) == Recall(call=1)
    assert Recall(call=1) != Recall(call=2)
    assert Stop() != Recall()
    assert repr(Recall(call=1)) == "Recall(call=1)"


def test_unknown_field_name_is_a_type_error():
    with pytest.raises(TypeError, match="has no field nonsense"):
        Recall(nonsense=1)


@pytest.mark.parametrize("value", [0, 1, 127, 128, 300, 2**32, 2**64 - 1])
def test_varint_is_read_back(value):
    data = varint(value)

    assert protobuf.read_varint(data, 0) == (value, len(data))


def test_varint_of_more_than_64_bits_is_an_error():
    with pytest.raises(IndexError, match="varint too long"):
        protobuf.read_varint(b"\xff" * 10 + b"\x01", 0)


def test_field_that_has_its_default_takes_no_bytes():
    assert Outer().body() == Outer(number=0, change=0, texts=(), inner=None, payload=b"", extent=()).body() == b""
    assert Outer.parse(b"", 0, 0) == Outer()


def test_fields_with_tags_of_one_and_of_two_bytes_are_read_back():
    message = Outer(number=7, texts=("", "b"), inner=Inner(number=2**32), payload=b"p", extent=(1, 0))

    assert again(message) == message


def test_message_without_values_differs_from_no_message():
    assert again(Outer(inner=None)).inner is None
    assert Outer.parse(b"\x22\x00", 0, 2).inner == Inner()


@pytest.mark.parametrize("value", [1, -1, 63, -64, 64, 2**31 - 1, -(2**31)])
def test_signed_number_is_read_back(value):
    assert again(Outer(change=value)).change == value


def test_small_signed_number_of_either_sign_takes_one_byte():
    assert {len(Outer(change=value).body()) for value in (*range(-64, 0), *range(1, 64))} == {2}


def test_field_past_the_end_of_its_message_is_an_error():
    body = Outer(payload=b"payload").body()
    with pytest.raises(IndexError, match="a field extends past the end of its frame"):
        Outer.parse(body + b"more", 0, len(body) - 1)


def test_known_field_of_another_wire_type_is_named():
    with pytest.raises(ValueError, match="Outer: field 2 has the wrong wire type 5"):
        Outer.parse(b"\x15" + bytes(4), 0, 5)


def test_unknown_wire_type_is_an_error():
    with pytest.raises(ValueError, match="unknown wire type 3"):
        Outer.parse(b"\x0b", 0, 1)


def test_field_of_strings_holds_a_thousand_and_no_more():
    texts = tuple(map(str, range(1000)))
    body = Outer(texts=texts).body()

    assert again(Outer(texts=texts)).texts == texts
    with pytest.raises(ValueError, match="more than 1000 strings in one field"):
        Outer.parse(body + b"\x1a\x00", 0, len(body) + 2)


@pytest.mark.parametrize("extent", [(), (APART, 1)])
def test_large_payload_is_a_view_only_if_it_is_to_be_cut_into_parts(extent):
    data = bytearray(Outer(payload=b"p" * (APART + 1), extent=extent).body())
    payload = Outer.parse(data, 0, len(data)).payload

    assert type(payload) is (memoryview if extent else bytes)
    assert bytes(payload) == b"p" * (APART + 1)


def test_large_message_with_very_many_fields_is_refused():
    with pytest.raises(ValueError, match="more than 2048 fields"):
        decode_body(Outer, b"".join(varint(number << 3) + b"\1" for number in range(100, 3000)))


@pytest.mark.parametrize("field", [Outer(number=1), Outer(inner=Inner(number=1)), Outer(payload=b"x")])
def test_large_message_in_which_a_field_comes_twice_is_refused(field):
    with pytest.raises(ValueError, match="came twice"):
        decode_body(Outer, field.body() * 2500)


def test_last_of_a_field_wins_in_a_small_message():
    assert decode_body(Outer, Outer(number=1).body() + Outer(number=2).body()).number == 2


def test_large_message_may_have_what_ours_have():
    message = Outer(number=7, texts=("x",) * 1000, payload=bytes(10_000), inner=Inner(number=1), extent=(10_000,))

    assert again(message) == message


def test_field_of_very_many_elements_is_refused(monkeypatch):
    monkeypatch.setattr(protobuf, "_ELEMENTS", 10)
    assert again(Outer(extent=range(10))).extent == tuple(range(10))
    with pytest.raises(ValueError, match="more than 10 elements"):
        again(Outer(extent=range(11)))


@pytest.mark.parametrize("column", [FIXED64S, FIXED32S, FLOATS])
@pytest.mark.parametrize("is_little", [True, False])
def test_elements_of_a_long_field_are_decoded_as_they_are_used(monkeypatch, column, is_little):
    monkeypatch.setattr(protobuf, "_IS_LITTLE", is_little)

    class Long(Message):
        elements = column(1)

    body = bytearray(Long(elements=range(10_000)).body())
    found = decode_body(Long, body).elements
    body[:] = bytes(len(body))  # the buffer is used again
    assert list(found) == list(range(10_000))
    assert list(found[5000:5002]) == [5000, 5001]
    assert again(Long(elements=found)).elements == found
    assert isinstance(found, memoryview if is_little else tuple)
    with pytest.raises(struct.error):  # half an element, at its end
        decode_body(Long, b"\x0a" + protobuf.sized(bytes(100_003)))


def decode_body(kind, body):
    return kind.parse(body, 0, len(body))
