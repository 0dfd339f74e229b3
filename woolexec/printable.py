"""Make text from others safe to print or log."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """
    Return text with non-printable characters replaced by Python's escapes.

    The result cannot start a new line, move a terminal's cursor, or reverse the text next to it.

    :param limit: number of characters above which the rest is left out; None: no limit
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
