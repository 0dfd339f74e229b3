import pickle

import pytest

from woolexec.resources import Requirement, amounts


def test_numbers_are_amounts_and_texts_are_tags():
    requirement = Requirement({"gpu": 1, "zone": "b", "memory": 0.5})
    assert requirement.resources == (("gpu", 1.0), ("memory", 0.5))
    assert requirement.tags == {"zone=b"}
    assert str(requirement) == "gpu>=1, memory>=0.5, zone=b"


def test_requirement_is_a_value():
    one, same, other = (
        Requirement({"gpu": 1, "zone": "b"}),
        Requirement({"zone": "b", "gpu": 1}),
        Requirement({"gpu": 2}),
    )
    assert one == same != other
    assert len({one, same, other}) == 2
    assert pickle.loads(pickle.dumps(one)) == one


def test_requirement_travels_as_text():
    requirement = Requirement({"gpu": 0.1, "zone": "a>=b", "x": "=3", "memory": 1e-7})
    assert Requirement.of(requirement.texts) == requirement
    assert Requirement.of(()) is None


@pytest.mark.parametrize(
    "wanted", [{"gpu": 0}, {"gpu": -1}, {"gpu": float("nan")}, {"gpu": float("inf")}, {"": 1}, {"a=b": 1}]
)
def test_amount_that_makes_no_sense_is_a_value_error(wanted):
    with pytest.raises(ValueError, match=r"require|name"):
        Requirement(wanted)


@pytest.mark.parametrize("wanted", [{"gpu": True}, {"gpu": None}, {3: 1}, {"gpu": [1]}])
def test_anything_else_is_a_type_error(wanted):
    with pytest.raises(TypeError, match="require"):
        Requirement(wanted)


def test_amounts_are_read_as_the_command_line_has_them():
    assert amounts(["gpu=2", "memory>=0.5"]) == {"gpu": 2.0, "memory": 0.5}


@pytest.mark.parametrize("text", ["gpu", "gpu=", "gpu=many", "=2", "gpu=-1", "gpu=0"])
def test_amount_that_cannot_be_read_is_a_value_error(text):
    with pytest.raises(ValueError, match="gpu=2"):
        amounts([text])
