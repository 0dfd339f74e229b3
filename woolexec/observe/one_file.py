"""Pages in one file: styles and scripts are in it, and nothing is requested from anywhere."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from woolexec.observe.palette import as_css

if TYPE_CHECKING:
    from collections.abc import Sequence


def read(name: str) -> str:
    """Return the text of a file beside this one."""
    return files("woolexec.observe").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy_of(style: str, script: str, *, connect: str = "'none'") -> str:
    """Return a content security policy under which these run, and nothing else."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src {connect}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def one_file(
    page: str, *, scripts: Sequence[str], styles: Sequence[str] = (), connect: str = "'none'", **texts: str
) -> str:
    """
    Return a page with its styles and scripts.

    :param texts: what replaces ``{{name}}`` in the page, escaped by the caller
    """
    style = as_css() + "".join(map(read, ("base.css", *styles)))
    script = "".join(map(read, scripts))
    parts = {"style": style, "script": script, "policy": policy_of(style, script, connect=connect), **texts}
    first, *rest = read(page).split("{{")
    made = [first]
    for piece in rest:  # once each: what is put in is not looked at again
        name, _, text = piece.partition("}}")
        made += (parts[name], text)
    return "".join(made)
