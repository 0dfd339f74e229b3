"""
The colours of states: the same on the page, in the timeline, in `top` and in the documentation.

People with colour blindness can tell them apart: by hue or, where hue does not suffice, by lightness.  A state is
always shown with its name or its sign too.
"""

from __future__ import annotations

from typing import NamedTuple


class Colour(NamedTuple):
    """
    The colour of a state.

    :ivar light: on a light page
    :ivar dark: on a dark page
    :ivar terminal: its number among the 256 colours of terminals
    :ivar sign: one character for the state, where there is no room for its name
    """

    light: str
    dark: str
    terminal: int
    sign: str


STATES = {
    "idle": Colour("#8b95a3", "#67727f", 245, "\N{MIDDLE DOT}"),
    "starting": Colour("#0f8fb5", "#6cc9ea", 74, "+"),
    "running": Colour("#1668c7", "#55a4f3", 33, "\N{BLACK RIGHT-POINTING SMALL TRIANGLE}"),
    "waiting": Colour("#a86f00", "#dfa63a", 178, "\N{HORIZONTAL ELLIPSIS}"),
    "done": Colour("#1a8058", "#46bd8a", 35, "\N{CHECK MARK}"),
    "failed": Colour("#c2410c", "#f27f50", 202, "\N{MULTIPLICATION SIGN}"),
    "ending": Colour("#2b2463", "#efe5b4", 230, "-"),
    "lost": Colour("#a02c78", "#e273b8", 169, "!"),
}
"""By the name of the state, of tasks and of workers.  Stuck, ended early and refused have the colour of lost."""

FUNCTIONS = (
    "#4477aa",
    "#ee7733",
    "#228833",
    "#aa3377",
    "#33a5c9",
    "#b8a420",
    "#cc4c5a",
    "#7a6fd0",
    "#0a9a8a",
    "#8d8d8d",
)
"""The colours of functions, in the order of their run time; the last one is for all others."""


def as_css() -> str:
    """Return the colours as variables of a style sheet, for light and for dark pages."""
    light = "".join(f"--{state}:{colour.light};" for state, colour in STATES.items())
    dark = "".join(f"--{state}:{colour.dark};" for state, colour in STATES.items())
    functions = "".join(f"--f{number}:{colour};" for number, colour in enumerate(FUNCTIONS))
    chosen = f"@media(prefers-color-scheme:dark){{:root:not(.light){{{dark}}}}}:root.dark{{{dark}}}"
    return f":root{{{light}{functions}}}{chosen}"
