"""
Transfer an exception to the caller: as itself where possible, otherwise as a `RemoteError`.

An exception travels as a tree of nodes: itself, its ``__cause__``, its ``__context__``, the members of a group.
Unpickling a node tries, in this order:
1. the exception's own pickle;
2. an instance created without ``__init__``, from its `args` (for classes whose ``__init__`` takes other arguments);
3. a `RemoteError` with the type's name, the text and the traceback.
"""

from __future__ import annotations

import copyreg
import os

from woolexec.imported import imported
from woolexec.platform.posix import host_name
from woolexec.wire.payload import File
from woolexec.wire.pickling import dumps_inline
from woolexec.wire.unpickling import Untrusted, loads

TYPE_CHECKING = False
if TYPE_CHECKING:
    import pickle
    from typing import Any
else:  # faster to import: see `worker/fork_server.py`
    import _pickle as pickle

SHUT = "this stream was closed by the shutdown of its pool"

_TEXT_LIMIT = 10_000
_TRACEBACK_LIMIT = 100_000
_DEPTH_LIMIT = 40


def types_of(exc: BaseException) -> tuple[str, ...]:
    """Return the names of an exception's classes, most specific first, as ``module:qualname``."""
    return tuple(type_name(cls) for cls in type.__getattribute__(type(exc), "__mro__") if cls is not object)


def get(exc: BaseException, name: str) -> Any:
    """Read an attribute that `BaseException` defines, bypassing the attribute access of the exception's class."""
    return getattr(BaseException, name).__get__(exc)


def put(exc: BaseException, name: str, value: object) -> None:
    """Set an attribute that `BaseException` defines, bypassing the attribute access of the exception's class."""
    getattr(BaseException, name).__set__(exc, value)


def type_name(cls: type) -> str:
    """Return the name of a class as ``module:qualname``."""
    return f"{cls.__module__}:{cls.__qualname__}"


def dump_failure(exc: BaseException, *, skip: int = 0, goes_home: bool = False) -> bytes:
    """
    Encode an exception with its causes, contexts, notes and group members.

    :param skip: number of frames to leave out at the top of its traceback (our own)
    :param goes_home: see `pickling.dumps`
    """
    try:
        traceback = get(exc, "__traceback__")
        for _ in range(skip):
            if traceback is not None:
                traceback = traceback.tb_next
        put(exc, "__traceback__", traceback)
        return pickle.dumps((_node(exc, set(), 0, goes_home=goes_home), _format(exc)), 5)
    except BaseException as why:  # unforeseen user code: transfer at least the name of the class
        name = type_name(type(exc)).replace(":", ".")
        node = {"name": name, "suppress": False, "parts": None, "text": "", "why": type(why).__name__}
        return pickle.dumps((node, name), 5)


def load_failure(payload: bytes | File | Untrusted) -> BaseException:
    """Decode an exception; the remote traceback is added at the end of its chain of causes."""
    if isinstance(payload, Untrusted):
        return payload.load_failure(payload.payload)
    from woolexec.errors import RemoteTraceback

    node, text = loads(payload)
    exc = _build(node)
    end, seen = exc, {id(exc)}
    while (cause := get(end, "__cause__")) is not None and id(cause) not in seen:
        end = cause
        seen.add(id(end))
    if cause is None:
        put(end, "__cause__", RemoteTraceback(text))
    return exc


def as_exception(payload: Any) -> BaseException:
    """Return a failure as an exception; it is given as an exception, in encoded form, or as None if cancelled."""
    if payload is None:
        from concurrent.futures import CancelledError

        return CancelledError()
    if isinstance(payload, LateFailure):
        return payload.load()
    return payload if isinstance(payload, BaseException) else load_failure(payload)


class LateFailure:
    """A failure whose exception is created only on request, because that may unpickle another exception."""

    __slots__ = ()

    def load(self) -> BaseException:
        """Return the exception."""
        raise NotImplementedError


class RemakingFailed(LateFailure):
    """
    The failure of a task whose value was lost and could not be made again.

    :param payload: why remaking failed: an exception, or an encoded one; None: it was cancelled
    :param task: the name of the task
    """

    __slots__ = ("_payload", "_task")

    def __init__(self, payload: Any, task: str) -> None:
        self._payload: Any = payload
        self._task = task

    def load(self) -> BaseException:
        """Return the exception, with the other one as its cause."""
        from woolexec.errors import ValueLostError

        error: Any = ValueLostError(f"the value of {self._task} is lost, and making it again has failed")
        error.task, error.__cause__ = self._task, as_exception(self._payload)
        return error  # type: ignore[no-any-return]


class NotStarted(LateFailure):
    """
    The failure of a call that was not started because something that it needs has failed.

    :param payload: the exception, or an encoded one
    :param what: a description of what raised it, such as ``its input load``
    :param dependent: the task that was not started
    """

    __slots__ = ("_dependent", "payload", "what")

    def __init__(self, payload: Any, what: str, dependent: str) -> None:
        if payload.__class__ is NotStarted:
            payload, what = payload.payload, payload.what
        self.payload: Any = payload
        self.what = what
        self._dependent = dependent

    def load(self) -> BaseException:
        """Return the exception, with a note."""
        exc = as_exception(self.payload)
        add_note(exc, f"{self._dependent} was not started, because {self.what} has raised this")
        return exc


def _node(exc: BaseException, seen: set[int], depth: int, *, goes_home: bool) -> dict[str, Any] | None:
    if id(exc) in seen or depth > _DEPTH_LIMIT:
        return None
    seen.add(id(exc))
    node: dict[str, Any] = {
        "name": type_name(type(exc)).replace(":", "."),
        "suppress": get(exc, "__suppress_context__"),
    }
    if isinstance(exc, BaseExceptionGroup):
        node["group"] = [_node(member, seen, depth + 1, goes_home=goes_home) for member in exc.exceptions]
        node["message"] = _text(lambda: exc.message)
    try:
        node["pickle"] = dumps_inline(_as_itself(exc), goes_home=goes_home)
    except BaseException as why:  # its own code may raise anything
        node["why"] = f"{type(why).__name__}: {_text(lambda why=why: str(why))}"
    try:
        node["parts"] = dumps_inline((type(exc), _made_with(exc), _attributes(exc)), goes_home=goes_home)
    except BaseException:  # a `RemoteError` is still possible
        node["parts"] = None
    try:
        notes = object.__getattribute__(exc, "__notes__")
    except AttributeError:
        notes = None
    if isinstance(notes, list):
        node["notes"] = [_text(lambda note=note: str(note)) for note in notes]
    node["text"] = _text(lambda: str(exc))
    for name in ("cause", "context"):
        other = get(exc, f"__{name}__")
        if other is not None:
            node[name] = _node(other, seen, depth + 1, goes_home=goes_home)
    return node


class _Itself:
    """Pickles as an exception that is reduced by its own class."""

    __slots__ = ("_exc",)

    def __init__(self, exc: BaseException) -> None:
        self._exc = exc

    def __reduce__(self) -> Any:
        return self._exc.__reduce_ex__(5)


def _as_itself(exc: BaseException) -> Any:
    """
    Return an object that pickles as the exception would without tblib.

    tblib registers reducers for all exceptions of a process when `distributed` is imported, also by dask.  They lose
    data that built-in classes keep neither in `args` nor in their dictionary, such as the code of a `SystemExit`.
    """
    if imported("tblib") is None:
        return exc
    reduce = copyreg.dispatch_table.get(type(exc))
    return _Itself(exc) if getattr(reduce, "__module__", "") == "tblib.pickling_support" else exc


def _built_in(cls: Any) -> Any:
    return next(base for base in cls.__mro__ if base.__module__ == "builtins")


def _made_with(exc: BaseException) -> Any:
    """Return the arguments for the built-in class of an exception; `args` lacks the file of an `OSError`."""
    return _built_in(type(exc)).__reduce__(exc)[1]


def _attributes(exc: BaseException) -> dict[str, Any]:
    """Return the attributes of an exception that can be pickled."""
    attributes = {}
    for name, value in object.__getattribute__(exc, "__dict__").items():
        if name == "__notes__":
            continue
        try:
            dumps_inline(value)
        except BaseException:  # user code
            continue
        attributes[name] = value
    return attributes


def _build(node: dict[str, Any]) -> BaseException:
    exc = _revive(node)
    _connect(exc, node)
    return exc


def _connect(exc: BaseException, node: dict[str, Any]) -> None:
    for name in ("cause", "context"):
        if node.get(name) is not None:
            put(exc, f"__{name}__", _build(node[name]))
    put(exc, "__suppress_context__", node["suppress"])


def _revive(node: dict[str, Any]) -> BaseException:
    why = node.get("why", "")
    if "pickle" in node:
        try:
            exc = loads(node["pickle"])
            if isinstance(exc, BaseException):
                if node.get("group") is not None and isinstance(exc, BaseExceptionGroup):
                    _graft(exc, node["group"])
                return _fresh(exc)
            why = f"unpickling it returned an instance of {type(exc).__name__}"
        except BaseException as error:  # unpickling runs the exception's own code
            why = f"{type(error).__name__}: {_text(lambda error=error: str(error))}"
    if node.get("group") is not None:
        members = [_build(member) for member in node["group"] if member is not None]
        group = BaseExceptionGroup(node["message"], members)
        return _annotate(group, node)
    if node["parts"] is not None:
        try:
            cls, args, attributes = loads(node["parts"])
            exc = cls.__new__(cls, *args)
            if isinstance(exc, BaseException):
                _built_in(cls).__init__(exc, *args)  # not the class's own, which takes other arguments
                object.__getattribute__(exc, "__dict__").update(attributes)
                return _annotate(_fresh(exc), node)
        except BaseException:  # as above
            pass
    from woolexec.errors import RemoteError

    remote = RemoteError(f"{node['name']}: {node['text']} (the exception itself could not be transferred: {why})")
    remote.type_name = node["name"]
    return _annotate(remote, node)


def _graft(group: BaseExceptionGroup[Any], nodes: list[dict[str, Any] | None]) -> None:
    """Restore the causes and contexts of a group's members, which pickling drops."""
    for member, node in zip(group.exceptions, nodes, strict=False):
        if node is None:
            continue
        _connect(member, node)
        if node.get("group") is not None and isinstance(member, BaseExceptionGroup):
            _graft(member, node["group"])


def _fresh(exc: BaseException) -> BaseException:
    for name in ("__traceback__", "__cause__", "__context__"):
        put(exc, name, None)
    return exc


def _annotate(exc: BaseException, node: dict[str, Any]) -> BaseException:
    for note in node.get("notes", ()):
        try:
            BaseException.add_note(exc, note)
        except BaseException:  # it sets __notes__ through the class's own attribute access
            break
    return exc


def _text(get: Any) -> str:
    """Call user code that should return a string; return what it returns as a string of limited length."""
    try:
        text = get()
        text = text if type(text) is str else str(text)
    except BaseException as why:
        return f"<{type(why).__name__} while getting the text>"
    return text if len(text) <= _TEXT_LIMIT else f"{text[:_TEXT_LIMIT]}... ({len(text)} characters)"


def _format(exc: BaseException) -> str:
    try:
        import traceback  # 9 ms
    except (ImportError, OSError):  # no descriptor is free to load it: use the text alone, so that the engine goes on
        return f"{type_name(type(exc))}: {_text(exc.__str__)}"
    try:
        text = "".join(traceback.format_exception(exc))
    except BaseException:  # __str__ and friends are user code
        text = "".join(traceback.format_tb(exc.__traceback__)) + type_name(type(exc))
    if len(text) > _TRACEBACK_LIMIT:
        text = f"{text[: _TRACEBACK_LIMIT // 2]}\n... ({len(text)} characters) ...\n{text[-_TRACEBACK_LIMIT // 2 :]}"
    return text


def here() -> str:
    """Return a description of this worker, for messages."""
    return f"worker {os.getpid()} on {host_name()}"


def add_note(exc: BaseException, note: str) -> None:
    """Add a note, if the exception's class allows it."""
    try:
        BaseException.add_note(exc, note)
    except BaseException:  # setting __notes__ may run the class's own code
        pass
