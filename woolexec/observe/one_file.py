"""Pages in one file, which contains the styles and scripts; it requests nothing from other places."""

from __future__ import annotations

from base64 import b64encode
from hashlib import sha256
from importlib.resources import files
from typing import TYPE_CHECKING

from woolexec.observe.palette import as_css

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def read(name: str) -> str:
    """Return the text of a file in the folder of this module."""
    return files("woolexec.observe").joinpath(name).read_text(encoding="utf-8")


def _source(text: str) -> str:
    return f"'sha256-{b64encode(sha256(text.encode()).digest()).decode()}'"


def policy_of(style: str, script: str, *, connect: str = "'none'") -> str:
    """Return a content security policy that allows this style and this script, and nothing else."""
    return (
        f"default-src 'none'; style-src {_source(style)}; script-src {_source(script)}; connect-src {connect}; "
        "img-src data:; base-uri 'none'; form-action 'none'"
    )


def page_and_policy(
    page: str, *, scripts: Sequence[str], styles: Sequence[str] = (), connect: str = "'none'", **texts: str
) -> tuple[str, str]:
    """
    Return a page with its styles and scripts, and the policy that allows only these.

    :param connect: the source to which its script may connect
    :param texts: replacements for ``{{name}}`` in the page and in its scripts, escaped by the caller
    """
    style = as_css() + "".join(map(read, ("base.css", *styles)))
    script = _filled("".join(map(read, scripts)), texts)
    policy = policy_of(style, script, connect=connect)
    return _filled(read(page), {"style": style, "script": script, "policy": policy, **texts}), policy


def _filled(template: str, texts: Mapping[str, str]) -> str:
    first, *rest = template.split("{{")
    made = [first]
    for piece in rest:  # inserted text is not searched again
        name, _, text = piece.partition("}}")
        made += (texts[name], text)
    return "".join(made)
