import pytest

from woolexec.printable import printable


@pytest.mark.parametrize("strange", ["\n", "\r", "\x1b[2J", "\x9b2J", "\u2028", "\u202e", "\ud800", "\0", "\x7f"])
def test_what_is_not_printable_is_escaped(strange):
    text = printable(f"a{strange}b")
    assert text.isprintable()
    assert text.encode("ascii").decode("unicode_escape") == f"a{strange}b"


def test_what_is_printable_stays_as_it_is():
    assert printable("Zoë \u4e2d 'quoted' \\n") == "Zoë \u4e2d 'quoted' \\n"


def test_text_above_the_limit_is_cut():
    assert printable("x" * 11, 10) == "x" * 10 + "... (11 characters)"
    assert printable("x" * 10, 10) == "x" * 10
