from urllib.parse import urlsplit

import pytest

from woolexec.launchers.urls import BATCH, LAUNCHER, options_of


def test_options_are_parsed():
    found = options_of(urlsplit("x://?min=1&max=2&workers=3&idle_timeout=0.5"), LAUNCHER)
    assert found == {"min": 1, "max": 2, "workers": 3, "idle_timeout": 0.5}
    assert options_of(urlsplit("x://"), LAUNCHER) == {}
    assert options_of(urlsplit("x://?idle_timeout=none&prelude="), BATCH) == {"idle_timeout": None, "prelude": ""}


@pytest.mark.parametrize(
    ("query", "text"),
    [
        ("n=1", "n= is not an option here; options are min, max"),
        ("max=a", "max=a: a number is expected"),
        ("min", "min"),
    ],
)
def test_option_that_makes_no_sense_is_refused(query, text):
    with pytest.raises(ValueError, match=text):
        options_of(urlsplit(f"x://?{query}"), LAUNCHER)
