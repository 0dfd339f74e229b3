import pickle
import subprocess
import sys
from importlib.metadata import distributions

import pytest

from woolexec.errors import RemoteError, RemoteTraceback
from woolexec.wire.exceptions import dump_failure, load_failure, types_of


class Plain(Exception):
    pass


class NeedsKeyword(Exception):
    def __init__(self, *, code):
        super().__init__(f"code {code}")
        self.code = code


class NeedsTwo(Exception):
    def __init__(self, one, two):
        super().__init__(one)
        self.two = two


class Unpicklable(Exception):
    def __reduce__(self):
        raise TypeError("no pickle")


class FailsOnLoad(Exception):
    def __reduce__(self):
        return _explode, ()


def _explode():
    raise LookupError("on load")


class HostileText(Exception):
    def __str__(self):
        raise RuntimeError("in str")

    __repr__ = __str__


class Falsy(Exception):
    def __bool__(self):
        raise RuntimeError("asked for its truth")

    def __eq__(self, other):
        raise RuntimeError("compared")

    __hash__ = None


class Frozen(Exception):
    def __setattr__(self, name, value):
        raise AttributeError("frozen")


def raised(exc):
    try:
        raise exc
    except BaseException as caught:
        return caught


def travel(exc):
    return load_failure(dump_failure(exc))


@pytest.mark.parametrize(
    "exc",
    [
        ValueError("text", 7),
        KeyError("k"),
        OSError(2, "no", "file"),
        Plain(),
        SystemExit(3),
        KeyboardInterrupt(),
        StopIteration(4),
        StopAsyncIteration(),
        GeneratorExit(),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "why"),
    ],
)
def test_exception_arrives_as_itself(exc):
    copy = travel(raised(exc))

    assert type(copy) is type(exc)
    assert copy.args == exc.args
    assert isinstance(copy.__cause__, RemoteTraceback)
    assert "raised" in copy.__cause__.tb


def test_attributes_are_kept():
    exc = Plain("text")
    exc.detail = {"a": 1}

    assert travel(exc).detail == {"a": 1}


def test_cause_context_and_their_order_are_kept():
    try:
        try:
            try:
                raise KeyError("deep")
            except KeyError as deep:
                raise ValueError("middle") from deep
        except ValueError:
            raise Plain("top")  # noqa: B904  # an implicit context is the point
    except Plain as exc:
        copy = travel(exc)

    assert isinstance(copy.__context__, ValueError)
    assert isinstance(copy.__context__.__cause__, KeyError)
    assert isinstance(copy.__cause__, RemoteTraceback)


def test_remote_traceback_stands_at_the_end_of_the_causes():
    exc = Plain("top")
    exc.__cause__ = KeyError("cause")

    copy = travel(exc)

    assert isinstance(copy.__cause__, KeyError)
    assert isinstance(copy.__cause__.__cause__, RemoteTraceback)


def test_suppressed_context_stays_suppressed():
    exc = Plain()
    exc.__context__ = KeyError()
    exc.__suppress_context__ = True

    assert travel(exc).__suppress_context__


def test_notes_are_kept():
    exc = Plain("text")
    exc.add_note("one")
    exc.add_note("two")

    assert travel(exc).__notes__ == ["one", "two"]


def test_group_keeps_its_members_and_their_causes():
    member = ValueError(1)
    member.__cause__ = KeyError(2)
    inner = ExceptionGroup("inner", [member])

    copy = travel(raised(ExceptionGroup("outer", [TypeError(3), inner])))

    assert copy.message == "outer"
    assert [type(each) for each in copy.exceptions] == [TypeError, ExceptionGroup]
    assert isinstance(copy.exceptions[1].exceptions[0].__cause__, KeyError)


def test_group_with_a_member_that_cannot_travel_is_still_a_group():
    copy = travel(ExceptionGroup("outer", [ValueError(1), Unpicklable("x")]))

    assert isinstance(copy, ExceptionGroup)
    assert type(copy.exceptions[0]) is ValueError


@pytest.mark.parametrize("exc", [NeedsKeyword(code=4), NeedsTwo(1, 2)])
def test_class_whose_init_wants_other_arguments_keeps_its_type(exc):
    copy = travel(raised(exc))

    assert type(copy) is type(exc)
    assert str(copy) == str(exc)


def test_class_whose_init_wants_other_arguments_keeps_what_its_built_in_class_holds():
    class Missing(FileNotFoundError):
        def __init__(self, path):
            super().__init__(2, "none there", path)
            self.asked = path

    copy = travel(raised(Missing("here")))

    assert type(copy) is Missing
    assert (copy.errno, copy.filename, copy.args, copy.asked) == (2, "here", (2, "none there"), "here")
    assert str(copy) == "[Errno 2] none there: 'here'"


@pytest.mark.parametrize("cls", [Unpicklable, FailsOnLoad])
def test_class_with_a_bad_pickle_keeps_its_type(cls):
    copy = travel(raised(cls("text")))

    assert type(copy) is cls
    assert copy.args == ("text",)


def test_what_cannot_travel_is_a_remote_error_that_says_all():
    exc = raised(Unpicklable("text", Unloadable()))

    copy = travel(exc)

    assert type(copy) is RemoteError
    assert copy.type_name.endswith("Unpicklable")
    assert "text" in str(copy)
    assert isinstance(copy.__cause__, RemoteTraceback)


class Unloadable:
    def __reduce__(self):
        raise TypeError("neither")


@pytest.mark.parametrize("cls", [HostileText, Falsy, Frozen])
def test_hostile_exception_arrives_as_itself(cls):
    assert type(travel(raised(cls("text")))) is cls


def test_huge_text_is_cut_where_it_is_ours():
    class Huge(Exception):
        def __reduce_ex__(self, protocol):
            raise TypeError

        def __str__(self):
            return "x" * 100_000_000

    exc = Huge()
    exc.args = (Unloadable(),)
    payload = dump_failure(exc)

    assert len(payload) < 1_000_000


def test_cycle_of_causes_ends():
    one, other = Plain(1), Plain(2)
    one.__cause__, other.__cause__ = other, one

    assert type(travel(one)) is Plain


def test_long_chain_is_cut():
    exc = Plain(0)
    for number in range(200):
        after = Plain(number)
        after.__context__ = exc
        exc = after

    assert type(travel(exc)) is Plain


def test_frames_of_our_own_are_left_out():
    exc = raised(Plain())

    text = load_failure(dump_failure(exc, skip=1)).__cause__.tb

    assert "in raised" not in text


def test_types_are_named_most_specific_first():
    assert types_of(NeedsTwo(1, 2))[0] == f"{__name__}:NeedsTwo"
    assert types_of(KeyError())[:2] == ("builtins:KeyError", "builtins:LookupError")


def test_payload_is_a_plain_pickle_of_ours():
    node, text = pickle.loads(dump_failure(raised(Plain("x"))))

    assert node["name"].endswith("Plain")
    assert "Plain" in text


def test_failure_is_told_without_its_traceback_where_that_cannot_be_formatted(monkeypatch):
    monkeypatch.setitem(sys.modules, "traceback", None)  # as if no descriptor were left to load it
    loaded = load_failure(dump_failure(Plain("what went wrong")))
    assert type(loaded) is Plain
    assert "Plain: what went wrong" in str(loaded.__cause__)


WITH_TBLIB = """
from tblib import pickling_support
from woolexec import StoreFullError, WorkerLostError
from woolexec.wire.exceptions import dump_failure, load_failure

class Own(ValueError):
    pass

lost, own = WorkerLostError("lost"), Own(1)
lost.exitcode, own.more = -9, 2
undecoded = UnicodeDecodeError("utf-8", b"x", 0, 1, "bad")
errors = [SystemExit(3), StoreFullError("full"), lost, own, undecoded, StopIteration(4)]
errors[1].__cause__ = ModuleNotFoundError("none", name="missing")
pickling_support.install()
for error in errors:
    back = load_failure(dump_failure(error))
    assert type(back) is type(error), back
    assert back.args == error.args
    for name in ("code", "exitcode", "more", "encoding", "value"):
        assert getattr(back, name, None) == getattr(error, name, None), (error, name)
back = load_failure(dump_failure(errors[1]))
assert back.__cause__.name == "missing"
"""


@pytest.mark.skipif(all(each.name != "tblib" for each in distributions()), reason="not installed: tblib")
def test_exceptions_keep_all_that_they_hold_where_tblib_pickles_those_of_the_process():
    ran = subprocess.run([sys.executable, "-c", WITH_TBLIB], capture_output=True, text=True, check=False, timeout=60)
    assert (ran.returncode, ran.stderr) == (0, "")
