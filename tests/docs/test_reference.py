"""The reference has every public name with its parameters; `make docs` fills it from the docstrings."""

import importlib
import inspect
import re
from pathlib import Path

import pytest

import woolexec.discovery
import woolexec.errors
import woolexec.launchers
import woolexec.testing
from woolexec import PeerPoolExecutor
from woolexec.integrations import pool, pool_results

REFERENCE = Path(__file__).parents[2] / "docs" / "reference"
DIRECTIVE = re.compile(r"^\.\. (currentmodule|auto\w+|data):: ([\w.]+)", re.MULTILINE)
MODULES = [woolexec, woolexec.errors, woolexec.discovery, woolexec.launchers, woolexec.testing]
KINDS = [PeerPoolExecutor, woolexec.AsyncMap, woolexec.Credentials, woolexec.Discovery, woolexec.Stream]
KINDS += [woolexec.testing.Peer, pool.Pool, pool_results.AsyncResult, pool_results.ImapIterator]


def described():
    """Each name in the reference, with its module."""
    for page in sorted(REFERENCE.glob("*.md")):
        module = ""
        for kind, name in DIRECTIVE.findall(page.read_text(encoding="utf-8")):
            if kind == "currentmodule":
                module = name
            else:
                yield module, name


DESCRIBED = list(described())


def public_names(module):
    given = getattr(module, "__all__", None)
    return given or [name for name in vars(module) if re.match("[A-Z]", name)]


def look_up(module, name):
    """Return what has this name; None if the library is not installed that the module is a door to."""
    try:
        return getattr(importlib.import_module(module), name)
    except ModuleNotFoundError as exc:
        if exc.name.startswith("woolexec"):
            raise
        return None


OBJECTS = {where: look_up(*where) for where in DESCRIBED}
"""Imported here: eventkit makes an event loop when it is imported, which is not what a test leaves behind."""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.__name__)
def test_each_public_name_is_in_the_reference(module):
    missing = [
        name
        for name in public_names(module)
        if (module.__name__, name) not in DESCRIBED
        and not any(getattr(module, name) is each for each in OBJECTS.values())
    ]
    assert missing == []


@pytest.mark.parametrize(("module", "name"), DESCRIBED)
def test_each_name_in_the_reference_is_there_and_has_a_docstring(module, name):
    value = OBJECTS[module, name]
    if value is None:
        pytest.skip(f"{module} needs a library that is not installed")
    assert not callable(value) or inspect.getdoc(value)


def methods(kind):
    """The public methods of a class, and the class itself, which stands for `__init__`."""
    yield kind.__name__, kind
    for name in dir(kind):
        value = inspect.getattr_static(kind, name)
        if not name.startswith("_") and (inspect.isroutine(value) or isinstance(value, property)):
            yield f"{kind.__name__}.{name}", getattr(kind, name)


METHODS = [pytest.param(value, id=name) for kind in KINDS for name, value in methods(kind)]
METHODS += [pytest.param(value, id=value.__name__) for value in (woolexec.routine, woolexec.propagate)]


@pytest.mark.parametrize("method", METHODS)
def test_each_option_is_described_and_each_description_is_of_a_parameter(method):
    text = inspect.getdoc(method)
    assert text
    parameters = {} if isinstance(method, property) else inspect.signature(method).parameters
    names = re.findall(r"^:param (\w+):", text, re.MULTILINE)
    assert [name for name in names if name not in parameters] == []
    options = [name for name, parameter in parameters.items() if parameter.kind is parameter.KEYWORD_ONLY]
    assert [name for name in options if name not in names and f"`{name}`" not in text] == []


def test_the_port_in_the_reference_is_the_one_in_the_code():
    assert f".. data:: PORT\n   :value: {woolexec.discovery.PORT}\n" in (REFERENCE / "discovery.md").read_text()
