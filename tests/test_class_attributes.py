import asyncio
from concurrent.futures import Future

import pytest

from tests.shared_pools import shared
from woolexec.class_attributes import defines
from woolexec.wire.inputs import is_future_class

pytestmark = pytest.mark.usefixtures("shared_pools")

PATIENCE = 30


class Answers(type):
    def __getattr__(cls, name):
        return name


class Anything(metaclass=Answers):
    """A class that has every attribute, for whoever asks it."""

    value = 1


class More(Anything):
    pass


def value_of(thing):
    return thing.value


def test_attribute_counts_that_a_class_defines_or_inherits():
    assert defines(More, "value")
    assert defines(More, "other", "value")


def test_attribute_that_a_metaclass_makes_up_does_not_count():
    assert More.other == "other"
    assert not defines(More, "other")


@pytest.mark.parametrize(
    ("cls", "is_one"),
    [(Future, True), (asyncio.Future, True), (asyncio.Task, True), (More, False), (int, False)],
    ids=["future", "of asyncio", "task", "every attribute", "int"],
)
def test_only_classes_of_futures_count_as_such(cls, is_one):
    assert is_future_class(cls) is is_one


def test_object_whose_class_has_every_attribute_is_no_future_to_wait_for():
    with shared(1) as pool:
        assert pool.submit(value_of, More()).result(PATIENCE) == 1
        assert list(pool.map(value_of, [More(), More()], timeout=PATIENCE)) == [1, 1]
