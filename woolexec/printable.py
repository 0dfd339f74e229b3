"""Text of others, made safe to be printed or logged."""

from __future__ import annotations


def printable(text: str, limit: int | None = None) -> str:
    """
    Return text with non-printable characters replaced by Python's escapes.

    Nothing of it can begin a line, move the cursor of a terminal, or reverse what stands beside it.

    :param limit: number of characters above which the rest is left out; None: no limit
    """
    if limit is not None and len(text) > limit:
        text = f"{text[:limit]}... ({len(text)} characters)"
    if text.isprintable():
        return text
    return "".join(sign if sign.isprintable() else sign.encode("unicode_escape").decode() for sign in text)
