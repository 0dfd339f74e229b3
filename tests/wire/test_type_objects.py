import sys
import typing
from typing import AnyStr, NewType, ParamSpec, TypeVar, TypeVarTuple

import pytest

from woolexec.wire import type_objects
from woolexec.wire.by_value import dumps_by_value
from woolexec.wire.type_objects import REDUCERS
from woolexec.wire.unpickling import loads

UserId = NewType("UserId", int)
Local = TypeVar("Local")


def reduced(obj):
    return REDUCERS[type(obj)](obj)


@pytest.fixture
def arrive(monkeypatch):
    """Create what an object was reduced to, in a process that has not seen it."""
    names = ("_trackers", "_tracked", "_values")
    there = {name: {} for name in names}

    def arrive(parts):
        with pytest.MonkeyPatch.context() as patch:
            for name in names:
                patch.setattr(type_objects, name, there[name])
            made = parts[0](*parts[1])
            return parts[5](made, parts[2]) if len(parts) == 6 else made

    for name in names:
        monkeypatch.setattr(type_objects, name, {})
    return arrive


@pytest.mark.parametrize(
    "obj",
    [
        TypeVar("T"),
        TypeVar("T", int, str),
        TypeVar("T", bound=dict, covariant=True),
        TypeVar("T", contravariant=True),
        ParamSpec("P"),
        TypeVarTuple("Ts"),
    ],
    ids=range(6),
)
def test_parameter_arrives_with_all_that_it_says(arrive, obj):
    made = arrive(reduced(obj))

    assert made is not obj
    assert type(made) is type(obj)
    for name in ("__name__", "__module__", "__constraints__", "__bound__", "__covariant__", "__contravariant__"):
        assert getattr(made, name, None) == getattr(obj, name, None), name


def test_one_object_arrives_once_and_two_of_one_name_stay_two(arrive):
    one, other = TypeVar("T"), TypeVar("T")
    made = arrive(reduced(one))

    assert arrive(reduced(one)) is made
    assert arrive(reduced(other)) is not made


def test_object_that_comes_back_is_the_one_that_was_sent(arrive):
    T = TypeVar("T")
    make, args = reduced(T)

    assert make(*args) is T


def test_new_type_arrives_with_its_supertype(arrive):
    made = arrive(reduced(NewType("Elsewhere", UserId)))

    assert (made.__name__, made.__supertype__) == ("Elsewhere", UserId)
    assert made.__module__ == __name__


def test_what_can_be_imported_is_reduced_to_its_name():
    assert reduced(AnyStr) == (getattr, (typing, "AnyStr"))
    assert reduced(Local) == (getattr, (sys.modules[__name__], "Local"))
    assert reduced(UserId) is None


def test_what_is_of_a_module_that_travels_by_value_is_not_reduced_to_its_name(monkeypatch):
    monkeypatch.setattr(type_objects, "comes_by_value", lambda name: name == __name__)

    assert reduced(Local)[0] is reduced(UserId)[0] is type_objects.make


if sys.version_info >= (3, 12):

    def alias_of(source):
        space = {"__name__": __name__}
        exec(source, space)
        return space["Tree"]

    def test_alias_may_refer_to_itself_and_arrives_once(arrive):
        alias = alias_of("type Tree[T] = list[Tree[T]] | T")
        make, args, _, *rest = reduced(alias)
        made = arrive((make, args, None, *rest[:2], lambda alias, _: alias))
        arrive((make, args, list[made], *rest))

        assert arrive((make, args, int, *rest)) is made
        assert made.__value__ == list[made]
        assert [(each.__name__, type(each)) for each in made.__type_params__] == [("T", TypeVar)]

    def test_alias_arrives_with_parameters_of_all_kinds(arrive):
        made = arrive(reduced(alias_of("type Tree[T, *Ts, **P] = int")))

        assert [type(each) for each in made.__type_params__] == [TypeVar, TypeVarTuple, ParamSpec]
        assert (made.__name__, made.__value__) == ("Tree", int)


@pytest.mark.skipif(sys.version_info < (3, 14), reason="annotations are evaluated later since Python 3.14")
@pytest.mark.parametrize("annotation", ["Later | None", "Later", "list[Later]"])
def test_annotation_that_cannot_be_evaluated_arrives_without_its_namespaces(program, annotation):
    main = program(
        "import annotationlib, sys\n"
        "unwanted = sys._getframe()\n"
        f"class Node:\n    next: {annotation}\n"
        "kind = annotationlib.get_annotations(Node, format=annotationlib.Format.FORWARDREF)['next']\n"
        "class Later: pass\n"
    )
    main.Node.kind = main.kind

    kind = loads(dumps_by_value(main.kind, lambda _: True))

    assert kind is not main.kind
    kind, mine = (typing.get_args(each)[0] if annotation == "list[Later]" else each for each in (kind, main.kind))
    assert (kind.__owner__, kind.__forward_arg__) == (main.Node, mine.__forward_arg__)
    assert kind.evaluate() == mine.evaluate()
