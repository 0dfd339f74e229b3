import pytest

from woolexec.discovery.braces import MOST, expand


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("node7", ["node7"]),
        ("", [""]),
        ("node{1..3}", ["node1", "node2", "node3"]),
        ("node{08..11}", ["node08", "node09", "node10", "node11"]),
        ("node{8..11}", ["node8", "node9", "node10", "node11"]),
        ("{ada,bob}.lab", ["ada.lab", "bob.lab"]),
        ("r{1..2}n{a,b}:7", ["r1na:7", "r1nb:7", "r2na:7", "r2nb:7"]),
        ("node{5..5}", ["node5"]),
    ],
)
def test_names_are_those_that_a_shell_makes(text, names):
    assert expand(text) == names


@pytest.mark.parametrize("text", ["a{1..", "a}b", "{a}", "{}", "{3..1}", f"{{1..{MOST + 1}}}", "{1..101}{1..100}"])
def test_text_that_makes_no_sense_is_refused(text):
    with pytest.raises(ValueError):
        expand(text)
