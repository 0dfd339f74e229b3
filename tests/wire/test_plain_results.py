import pickle

import pytest

from woolexec import RemoteError, WorkerLostError
from woolexec.wire.exceptions import dump_failure, load_failure
from woolexec.wire.pickling import Pickled
from woolexec.wire.plain_results import untrusted
from woolexec.wire.unpickling import loads


def value_of(body):
    return loads(untrusted(body))


@pytest.mark.parametrize(
    "forged",
    [
        b"cos\nsystem\n.",
        b"cbuiltins\neval\n(\x8c\x011tR.",
        b"\x80\x02c__builtin__\neval\n.",
        b"cbuiltins\nException\nN}\x8c\x01as\x86b.",
        b"cbuiltins\nlist\n.",
        b"cwoolexec.wire.unpickling\nloads\n.",
        b"cnumpy\nndarray\n(K\x01\x85\x8c\x01OtR.",
        b"K\x01",  # cut off
        b"",
        b".",
        b"0.",
        b"\x80\xff.",
        b"}]K\x01s.",  # a key that cannot be hashed
        b"\x97.",  # a buffer that is not there
    ],
)
def test_forged_value_is_one_clear_error(forged):
    with pytest.raises(pickle.UnpicklingError):
        value_of(forged)


def test_name_in_the_error_cannot_control_a_terminal():
    with pytest.raises(pickle.UnpicklingError) as caught:
        value_of(b"\x80\x04\x8c\x05\x1b[2J\n\x8c\x01x\x93.")
    assert str(caught.value).isprintable()


def test_value_pickled_alone_is_plain_too():
    inner = value_of(pickle.dumps(Pickled(pickle.dumps(print))))
    assert type(inner) is Pickled
    with pytest.raises(pickle.UnpicklingError):
        inner.load()
    assert value_of(pickle.dumps(Pickled(b"K\x01."))).load() == 1


NODE = {"name": "a.B", "suppress": False, "parts": None, "text": "t"}


@pytest.mark.parametrize(
    "forged",
    [
        1,
        (1, 2),
        (None, ""),
        ({}, ""),
        (NODE, None),
        (NODE | {"name": 1}, ""),
        (NODE | {"text": []}, ""),
        (NODE | {"cause": 1}, ""),
        (NODE | {"group": [1], "message": "m"}, ""),
        (NODE | {"group": [NODE]}, ""),
        (NODE | {"notes": [1]}, ""),
    ],
)
def test_forged_error_is_one_clear_error(forged):
    with pytest.raises(pickle.UnpicklingError):
        load_failure(untrusted(pickle.dumps(forged)))


def test_error_that_is_its_own_cause_ends():
    node = dict(NODE)
    node["cause"] = node
    with pytest.raises(pickle.UnpicklingError, match="too many causes"):
        load_failure(untrusted(pickle.dumps((node, ""))))


@pytest.mark.parametrize(
    "parts", [b"", b"cos\nsystem\n.", pickle.dumps((1, 2, 3)), pickle.dumps((type, (), {})), "text"]
)
def test_error_without_usable_parts_becomes_a_remote_error(parts):
    error = load_failure(untrusted(pickle.dumps((NODE | {"parts": parts}, "traceback"))))
    assert type(error) is RemoteError
    assert error.type_name == "a.B"


def test_error_keeps_notes_causes_and_attributes_of_ours():
    error = WorkerLostError("lost \x1b[2J")
    error.task, error.pid, error.host = "t\x1b", 3, "h"
    error.add_note("note\x07")
    error.__cause__ = KeyError("k")
    made = load_failure(untrusted(dump_failure(error)))
    assert (type(made), made.args, made.task, made.pid) == (WorkerLostError, (r"lost \x1b[2J",), r"t\x1b", 3)
    assert made.__notes__ == [r"note\x07"]
    assert repr(made.__cause__) == "KeyError('k')"


@pytest.mark.parametrize("text", ["a\nb\tc", "a\x1b[2J\x9b\u202e"])
def test_texts_of_errors_are_printable(text):
    made = load_failure(untrusted(dump_failure(ValueError(text))))
    assert all(each.isprintable() for line in str(made).split("\n") for each in line.split("\t"))
    assert str(made) == text or "\\x1b" in str(made)
