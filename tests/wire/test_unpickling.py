import pickle

import pytest

from woolexec.wire import unpickling
from woolexec.wire.payload import Parts, store
from woolexec.wire.unpickling import ALL_BYTES, ALONE, ALONE_IN_CALL, Raw, loads


def pickled(obj, mark=b""):
    """Pickle with all buffers out of band."""
    buffers = []
    body = pickle.dumps(obj, 5, buffer_callback=lambda buffer: buffers.append(bytes(buffer.raw())))
    return [body + mark, *buffers]


def array(size=1000):
    return bytearray(range(256)) * (size // 256 + 1)


@pytest.fixture(params=["memory", "file"])
def payload_of(request):
    """Make a payload of body and buffers, of either kind."""
    return Parts if request.param == "memory" else store


def test_pickle_without_buffers_may_be_bytes_or_a_view():
    data = pickle.dumps({"a": (1, 2)})

    assert loads(data) == loads(memoryview(data)) == {"a": (1, 2)}


def test_buffers_arrive_writable(payload_of):
    made = loads(payload_of(pickled([pickle.PickleBuffer(array())])))

    assert made == [array()]
    made[0][0] = 9


def test_raw_bytes_arrive_as_bytes(payload_of):
    [made, text] = loads(payload_of(pickled([Raw(b"x" * 5000), "text"], ALL_BYTES)))

    assert (made, type(made), text) == (b"x" * 5000, bytes, "text")


@pytest.mark.parametrize(
    ("body", "whole"),
    [(ALONE, lambda data: data), (ALONE_IN_CALL, lambda data: ((data,), {}))],
    ids=["result", "argument"],
)
def test_bytes_that_travel_alone_are_what_unpickling_would_make_of_them(payload_of, body, whole):
    data = b"y" * 5000

    made = loads(payload_of([body, data]))

    assert made == pickle.loads(body, buffers=[data]) == whole(data)
    assert type(made if body == ALONE else made[0][0]) is bytes


def test_payload_that_is_loaded_again_is_as_it_was_the_first_time():
    payload = Parts([pickled([pickle.PickleBuffer(array())])[0], array()])
    first = loads(payload, again=True)
    first[0][:] = bytes(len(first[0]))

    assert loads(payload, again=True) == [array()]


def test_payload_that_is_loaded_once_is_not_copied():
    own = array()
    payload = Parts([pickled([pickle.PickleBuffer(own)])[0], own])

    assert loads(payload)[0] is own


def test_restricted_process_unpickles_every_kind_of_payload_with_the_other_function(monkeypatch, payload_of):
    monkeypatch.setattr(unpickling, "load", pickle.loads)
    monkeypatch.setattr(unpickling, "check_function", unpickling.check_function)
    seen, checked = [], []

    def other(body, **how):
        seen.append(body[:2])
        return pickle.loads(body, **how)

    unpickling.restrict(other, checked.append)
    loads(pickle.dumps(1, 5))
    loads(memoryview(pickle.dumps(1, 5)))
    loads(payload_of(pickled([pickle.PickleBuffer(array())])))

    assert seen == [b"\x80\x05"] * 3
    unpickling.check_function(len)
    assert checked == [len]


def test_payload_that_could_not_be_received_is_that_error():
    with pytest.raises(OSError, match="none left"):
        loads(OSError(24, "none left"))
