"""
Outcomes of peers that the caller does not trust: ``PeerPoolExecutor(results="plain")``.

Values are plain data (see `plain_data`).  Exceptions are those of Python and woolexec, without further attributes, or a
`RemoteError`.  Only an `Exception` is accepted, so that a peer cannot end the program with a `SystemExit`.  Anything
else is an error of the one future, item or part of a map for which it arrived.
"""

from __future__ import annotations

import pickle
from typing import Any

from woolexec.printable import printable
from woolexec.wire.pickling import Pickled
from woolexec.wire.plain_data import Constructor
from woolexec.wire.restricted import Careful
from woolexec.wire.unpickling import Untrusted, loads

_REFUSAL = "plain data, the only results that results='plain' accepts"

_DEPTH = 40
"""Maximum depth of causes, contexts and groups."""

_LONGEST = 10_000
"""Maximum length of a text, in characters."""


def load(data: Any, *, buffers: Any = None) -> Any:
    """
    Unpickle plain data.

    :raises UnpicklingError: if it is anything else
    """
    try:
        return _Result(data, _REFUSAL, buffers=buffers).load()
    except pickle.UnpicklingError:
        raise
    except Exception as exc:  # raised by Python's unpickler or a constructor
        raise pickle.UnpicklingError(f"this is not {_REFUSAL}: {type(exc).__name__}: {_line(exc)}") from exc


class _Result(Careful):
    def find_class(self, module: str, name: str) -> Any:
        return _PICKLED if (module, name) == _PICKLED_NAME else super().find_class(module, name)


def _pickled(body: bytes, buffers: Any = ()) -> Pickled:
    return Pickled(body, buffers, load)


_PICKLED, _PICKLED_NAME = Constructor(_pickled), ("woolexec.wire.pickling", "Pickled")


def load_failure(payload: Any) -> BaseException:
    """
    Decode an exception.

    :raises UnpicklingError: if it is not encoded as one
    """
    from woolexec.errors import RemoteTraceback

    try:
        node, text = loads(untrusted(payload))
        exc = _build(node, 0)
        end, seen = exc, {id(exc)}
        while end.__cause__ is not None and id(end.__cause__) not in seen:
            end = end.__cause__
            seen.add(id(end))
        end.__cause__ = RemoteTraceback(_lines(text))
    except pickle.UnpicklingError:
        raise
    except Exception as exc:  # something is missing or of another type
        raise pickle.UnpicklingError(f"the peer has sent an invalid error: {type(exc).__name__}: {_line(exc)}") from exc
    return exc


def _build(node: Any, depth: int) -> BaseException:
    if depth > _DEPTH:
        raise pickle.UnpicklingError("the peer has sent an error with too many causes")
    members = [_build(each, depth + 1) for each in node.get("group") or () if each is not None]
    exc = BaseExceptionGroup(_lines(node["message"]), members) if members else _known(node) or _remote(node)
    for note in node.get("notes", ()):
        exc.add_note(_lines(note))
    for name in ("cause", "context"):
        if node.get(name) is not None:
            setattr(exc, f"__{name}__", _build(node[name], depth + 1))
    exc.__suppress_context__ = bool(node["suppress"])
    return exc


def _known(node: dict[str, Any]) -> Exception | None:
    """Return an exception of Python or woolexec; None if it is another one, or is not to be raised here."""
    for make in (_from_pickle, _from_parts):
        try:
            exc = make(node)
        except Exception:  # a class of the program, arguments that are not plain data or do not fit, or invalid data
            continue
        if isinstance(exc, Exception) and not isinstance(exc, BaseExceptionGroup):
            return exc
    return None


def _from_pickle(node: dict[str, Any]) -> Any:
    exc = load(node["pickle"])
    if type(exc).__module__ != "woolexec.errors":
        return type(exc)(*map(_text, exc.__reduce__()[1]))
    exc.args = tuple(map(_text, exc.args))
    vars(exc).update({name: _text(value) for name, value in vars(exc).items()})
    vars(exc).pop("__notes__", None)
    return exc


def _from_parts(node: dict[str, Any]) -> Any:
    cls, args, _ = load(node["parts"])
    return cls(*map(_text, args))


def _text(value: Any) -> Any:
    return _lines(value) if type(value) is str else value  # it is shown in tracebacks


def _remote(node: dict[str, Any]) -> Exception:
    from woolexec.errors import RemoteError

    name = printable(node["name"], _LONGEST)
    error = RemoteError(
        f"{name}: {_lines(node['text'])} (with results='plain' only built-in exceptions stay themselves)"
    )
    error.type_name = name
    return error


def _line(exc: BaseException) -> str:
    return printable(str(exc), 300)


def _lines(text: str) -> str:
    """Return text of several lines, with everything else that is not printable escaped."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text[: 10 * _LONGEST].split("\n"))


def untrusted(payload: Any) -> Untrusted:
    """Mark a payload that a peer has sent."""
    return Untrusted(payload, load, load_failure)


def log_fields(record: Any) -> dict[str, Any]:
    """
    Return the fields of a logging record that are plain data, without any that its handlers would call.

    :raises UnpicklingError: if it is not a record
    """
    if not isinstance(record, dict):
        raise pickle.UnpicklingError("the peer has sent an invalid logging record")
    fields = {name: _text(record[name]) for name in _FIELDS if isinstance(record.get(name), str | int | float)}
    return {"args": None, **fields}


_FIELDS = (
    "created",
    "filename",
    "funcName",
    "levelname",
    "levelno",
    "lineno",
    "module",
    "msecs",
    "msg",
    "name",
    "pathname",
    "process",
    "processName",
    "thread",
    "threadName",
)
