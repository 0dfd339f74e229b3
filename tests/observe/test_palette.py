import re

from woolexec.observe.palette import FUNCTIONS, STATES, as_css


def luminance(colour):
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (each / 12.92 if each <= 0.03928 else ((each + 0.055) / 1.055) ** 2.4 for each in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one, other):
    low, high = sorted((luminance(one), luminance(other)))
    return (high + 0.05) / (low + 0.05)


def as_seen(colour, *, lacks):
    """The colour as somebody sees it who lacks one kind of cones (Viénot, Brettel and Mollon, 1999)."""
    red, green, blue = (((int(colour[at : at + 2], 16) / 255) ** 2.2) for at in (1, 3, 5))
    if lacks == "red":
        return 0.11238 * red + 0.88762 * green, 0.11238 * red + 0.88762 * green, 0.00401 * red - 0.00401 * green + blue
    return 0.29275 * red + 0.70725 * green, 0.29275 * red + 0.70725 * green, -0.02234 * red + 0.02234 * green + blue


def test_colours_stand_out_from_the_page():
    for state, colour in STATES.items():
        least = 2.9 if state == "idle" else 3.5
        assert contrast(colour.light, "#ffffff") > least, state
        assert contrast(colour.dark, "#1b1f23") > least, state


def test_states_are_told_apart_without_red_or_green_cones():
    for theme in ("light", "dark"):
        for lacks in ("red", "green"):
            seen = {state: as_seen(getattr(colour, theme), lacks=lacks) for state, colour in STATES.items()}
            for one, first in seen.items():
                for other, second in seen.items():
                    if one < other:
                        distance = sum(abs(a**0.45 - b**0.45) for a, b in zip(first, second, strict=True))
                        assert distance > 0.1, (theme, lacks, one, other, distance)


def test_each_state_has_a_sign_of_its_own():
    assert len({colour.sign for colour in STATES.values()}) == len(STATES)
    assert all(len(colour.sign) == 1 for colour in STATES.values())


def test_the_style_sheet_has_all_of_them():
    css = as_css()
    assert set(re.findall(r"--(\w+):", css)) == {*STATES, *(f"f{number}" for number in range(len(FUNCTIONS)))}
