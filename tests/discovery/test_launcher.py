import pytest

from woolexec.launchers import Launcher


def test_numbers_are_those_that_were_given():
    made = Launcher(min=1, max=2, workers=3, idle_timeout=4)
    assert (made.min, made.max, made.workers, made.idle_timeout) == (1, 2, 3, 4.0)
    assert Launcher(idle_timeout=None).idle_timeout == float("inf")


@pytest.mark.parametrize(
    ("wrong", "error"),
    [
        ({"min": -1}, ValueError),
        ({"min": 3, "max": 2}, ValueError),
        ({"max": 0}, ValueError),
        ({"max": "4"}, TypeError),
        ({"workers": 0}, ValueError),
        ({"idle_timeout": -1}, ValueError),
        ({"idle_timeout": "60"}, TypeError),
    ],
)
def test_numbers_that_make_no_sense_are_refused(wrong, error):
    with pytest.raises(error, match=next(iter(wrong))):
        Launcher(**wrong)
