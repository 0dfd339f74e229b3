"""
The options of a task.

An option is declared here, once: as a parameter of `WithOptions.with_options`, which has its default and describes it,
as an attribute of `TaskOptions`, and in `OPTIONS`, which has its check and the frames that carry it.  Executors, their
views, nested tasks, and the frames to workers and peers all take it from here.
"""

from __future__ import annotations

from woolexec.checks import count, integer, positive_seconds, shown, wrong_type
from woolexec.resources import Line, Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from concurrent.futures import Future
    from typing import Any, Protocol, TypeVar

    from woolexec.task_progress import TaskProgress

    View_co = TypeVar("View_co", covariant=True)

    class Viewed(Protocol[View_co]):
        """An executor that can make views of itself with other options."""

        def _view(self, options: TaskOptions) -> View_co: ...


class WithOptions:
    """The method `with_options` of all executors."""

    def with_options(
        self: Viewed[View_co],
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = (),
        idempotent: bool = False,
        name: str | None = None,
        abandon_on_cancel: bool = False,
        context_back: bool = False,
        backend: str | None = None,
        require: Mapping[str, float | str] | None = None,
        near: str | Future[Any] = "",
        priority: int = 0,
        keep: bool = False,
        at: str | Future[Any] = "",
        restarts: int = 0,
        max_concurrency: int | None = None,
        on_progress: Callable[[TaskProgress], object] | None = None,
    ) -> View_co:
        """
        Return a view of this executor, itself an `Executor`, whose tasks have these options.

        Options that are not given have their defaults, even if this executor is itself a view with other options.

        :param timeout: seconds that a call may run, counted from its start on a worker, for each attempt.  A call that
            runs longer is ended with its worker: SIGTERM, two seconds later SIGKILL.  Its future raises `TimeoutError`;
            no other call is affected, except coroutines and streams that run in the same worker and do not end within
            two seconds.  A coroutine or a stream that runs longer is cancelled, and its worker continues.  In a map
            the timeout applies to each item, or with a `chunksize` to each batch
        :param retries: how often a task is started again after its worker died, or after an exception of `retry_on`
        :param retry_on: classes of exceptions after which a task is started again.  In a map with a `chunksize` above 1
            the exception of an item is its result, and does not start its batch again
        :param idempotent: it is safe to start the task twice: after its worker is lost it is started again, up to three
            times, even without `retries`
        :param name: the name of the task in messages; default: the function's name
        :param abandon_on_cancel: when the task that awaits `run` is cancelled, let a running plain call continue;
            otherwise its worker is ended, as by `timeout`
        :param context_back: copy the changes that a coroutine or a generator makes to propagated context variables back
            to the task that awaits or pulls it
        :param backend: ``"asyncio"`` or ``"trio"``: the library on which coroutines run in the worker; None: that of
            the caller, or asyncio if the caller uses neither
        :param require: what the peer that runs the task must offer: amounts of resources, ``{"gpu": 1}``, which the
            task holds while it runs, and tags, ``{"zone": "b"}``.  If peers are connected and none offers it, the task
            raises `UnsatisfiableError` within two seconds
        :param near: a host, the name of a peer, or a tag (``"zone=b"``): matching peers are preferred when they have a
            free place; or a future of this pool: the task starts when the future is done, preferably at the peer that
            keeps its value
        :param priority: waiting tasks are started in order of priority, the highest first; default: 0
        :param keep: an outcome of 64 KiB or more stays at the peer that produced it until it is needed: the future is
            done when the outcome exists, ``result()`` fetches it, and tasks that take the future as an argument
            preferably run at that peer.  When the peer is lost, the task is started again if `idempotent` or `retries`
            allow it; otherwise the value is lost (`ValueLostError`), as it is at the pool's shutdown.  It has no effect
            on `map`, on streams and on nested tasks
        :param at: like `near`, but the task runs only there, and fails as with `require` if there is no such peer.  A
            future whose value no peer keeps does not restrict the place; if the future fails, so does the task
        :param restarts: how often an `actor` is created again, by its constructor, after it was lost.  `restarts` and
            `max_concurrency` have no effect on other tasks
        :param max_concurrency: maximum number of coroutines and streams of one actor that run at once; None: 1,000
        :param on_progress: called with a `TaskProgress` when the task reports its progress with `woolexec.progress`, in
            the thread that calls done-callbacks.  Reports that arrive while it runs are dropped, except for the last
        :raises ValueError: for a value out of range
        :raises TypeError: for a value of the wrong type
        """
        options = locals()  # the parameters
        return options.pop("self")._view(TaskOptions(**options))  # type: ignore[no-any-return]  # that of `_view`


# -- checks: each returns the value that `TaskOptions` holds ----------------------------------------------------------


def _retries(name: str, value: Any) -> int:
    retries = integer(name, value)
    if retries < 0:
        raise ValueError(f"{name} must not be negative: {retries}")
    return retries


def _flag(_name: str, value: Any) -> bool:
    return bool(value)


def _place(name: str, value: Any) -> Any:
    if not isinstance(value, str) and not hasattr(value, "deliver_kept"):
        raise wrong_type(name, "a str or a future of a PeerPoolExecutor", value)
    return value


def _text_or_none(name: str, value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise wrong_type(name, "a str or None", value)
    return value


def _count_or_none(name: str, value: Any) -> int | None:
    return None if value is None else count(name, value, "an integer or None")


def _callable_or_none(name: str, value: Any) -> Any:
    if value is not None and not callable(value):
        raise wrong_type(name, "a callable or None", value)
    return value


def _backend(name: str, value: Any) -> str | None:
    if not isinstance(value, str | None):
        raise wrong_type(name, "'asyncio', 'trio' or None", value)
    if value not in ("asyncio", "trio", None):
        raise ValueError(f"{name} must be 'asyncio', 'trio' or None, not {value!r}")
    return value


def _int32(name: str, value: Any) -> int:
    number = integer(name, value)
    if not -(1 << 31) <= number < 1 << 31:
        raise ValueError(f"{name} must fit into 32 bits: {number}")
    return number


def _requirement(_name: str, value: Any) -> Requirement | None:
    if not isinstance(value, Requirement | None):
        value = Requirement(value)
    return value if value and value.texts else None


class ClassNames(frozenset[str]):
    """Exception classes by name, ``"module:qualname"``, which is how they are compared and sent in frames."""

    __slots__ = ()


def _class_names(name: str, value: Any) -> ClassNames:
    if isinstance(value, ClassNames):
        return value
    expected = "an exception class, or several of them"
    if isinstance(value, type):
        value = (value,)
    elif isinstance(value, str):
        raise wrong_type(name, expected, value)
    try:
        classes = tuple(value)
    except TypeError:
        raise wrong_type(name, expected, value) from None
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise wrong_type(name, expected, cls)
    return ClassNames(f"{cls.__module__}:{cls.__qualname__}" for cls in classes)


def name_of_place(place: Any) -> str:
    """Return the name of a place that is given by its name or by a future whose value a peer keeps."""
    return place if isinstance(place, str) else getattr(place.value, "home", "")


# -- the table --------------------------------------------------------------------------------------------------------

SUBMIT, START = "submit", "start"
"""Frames whose fields have the names of options: `frames.Options`, for a nested task, and `frames.Start`."""


class Option:
    """
    How an option is checked, and which frames carry it.

    :param check: called with the name and the value; returns the value that `TaskOptions` holds
    :param frames: `SUBMIT`, `START`, both or neither
    :param write: returns the value of the frame's field
    :param read: returns a value for `check`
    """

    __slots__ = ("check", "frames", "read", "write")

    def __init__(
        self,
        check: Callable[[str, Any], Any],
        *frames: str,
        write: Callable[[Any], Any] | None = None,
        read: Callable[[Any], Any] | None = None,
    ) -> None:
        self.check = check
        self.frames = frames
        self.write = write
        self.read = read


OPTIONS = {
    "timeout": Option(positive_seconds, SUBMIT, START),
    "retries": Option(_retries, SUBMIT),
    "retry_on": Option(_class_names, SUBMIT, write=sorted, read=ClassNames),
    "idempotent": Option(_flag, SUBMIT),
    "name": Option(_text_or_none, SUBMIT, START),
    "abandon_on_cancel": Option(_flag),
    "context_back": Option(_flag, SUBMIT, START),
    "backend": Option(_backend),
    "require": Option(_requirement, SUBMIT, write=lambda requirement: requirement.texts, read=Requirement.of),
    "near": Option(_place, SUBMIT, write=name_of_place),
    "priority": Option(_int32, SUBMIT),  # links take priority and resources from `line`: pinned calls have none
    "keep": Option(_flag),  # links set it for calls that have a future
    "at": Option(_place, SUBMIT, write=name_of_place),
    "restarts": Option(_retries, SUBMIT),
    "max_concurrency": Option(_count_or_none, SUBMIT, START),
    "on_progress": Option(_callable_or_none),
}
"""
The options by name.

An option that is false is not sent, and a field that was not sent reads as false, so every default is a false value.
"""

_CARRIED = {
    frame: [(name, option.write, option.read) for name, option in OPTIONS.items() if frame in option.frames]
    for frame in (SUBMIT, START)
}
_NAMES = {frame: frozenset(name for name, _, _ in carried) for frame, carried in _CARRIED.items()}


class TaskOptions:
    """
    Options of a task; immutable.  See `WithOptions.with_options` for their meaning.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type, or an option that does not exist
    """

    __slots__ = (*OPTIONS, "awaited", "line", "start_fields")

    timeout: float | None
    retries: int
    retry_on: ClassNames
    idempotent: bool
    name: str | None
    abandon_on_cancel: bool
    context_back: bool
    backend: str | None
    require: Requirement | None
    near: str | Future[Any]
    priority: int
    keep: bool
    at: str | Future[Any]
    restarts: int
    max_concurrency: int | None
    on_progress: Callable[[TaskProgress], object] | None
    line: Line | None
    """The line in which the task waits, as far as it is known; None: the default line."""
    awaited: tuple[Any, ...]
    """The futures in `near` and `at`, which must be done before its line is known."""
    start_fields: dict[str, Any]
    """The fields of a Start frame that carry the options; a field that is not set stands for the default."""

    def __init__(self, **values: Any) -> None:
        if not OPTIONS.keys() >= values.keys():
            raise TypeError(f"a task has no option {', '.join(values.keys() - OPTIONS.keys())}")
        set_ = object.__setattr__
        for name, default in _DEFAULTS.items():
            set_(self, name, OPTIONS[name].check(name, values[name]) if name in values else default)
        named = values.get("retry_on", ())
        if self.retry_on and not self.retries and self.retry_on is not named:
            raise ValueError(f"retry_on={shown(named)} has no effect without retries: add retries=1, or leave it out")
        set_(self, "awaited", tuple(each for each in (self.near, self.at) if not isinstance(each, str)))
        set_(self, "line", self.line_now())
        set_(self, "start_fields", self._fields(START))

    def line_now(self) -> Line | None:
        """Return the line in which the task waits, given where the values of futures are now."""
        at, require = name_of_place(self.at), self.require
        if at:
            require = Requirement({} if require is None else require.wanted, at)
        line = Line(self.priority, require, name_of_place(self.near))
        return line if any(line) else None

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("TaskOptions is immutable")

    @property
    def submit_fields(self) -> dict[str, Any]:
        """The fields of an Options message, which carries the options in a Submit frame."""
        return self._fields(SUBMIT)

    def _fields(self, frame: str) -> dict[str, Any]:
        return {
            name: value if write is None else write(value)
            for name, write, _ in _CARRIED[frame]
            if (value := getattr(self, name))
        }

    @classmethod
    def from_start(cls, frame: Any) -> TaskOptions | None:
        """
        Make the options that a Start frame carries; None if it carries none.

        :raises ValueError: for a value out of range
        """
        return cls._from(START, frame)

    @classmethod
    def from_submit(cls, options: Any) -> TaskOptions | None:
        """
        Make options from the Options message of a Submit frame.

        :raises ValueError: for a value out of range
        """
        return None if options is None else cls._from(SUBMIT, options)

    @classmethod
    def _from(cls, frame: str, message: Any) -> TaskOptions | None:
        if _NAMES[frame].isdisjoint(vars(message)):  # as in most frames
            return None
        values = {
            name: value if read is None else read(value)
            for name, _, read in _CARRIED[frame]
            if (value := getattr(message, name))
        }
        return cls(**values) if values else None

    def replace(self, **changes: Any) -> TaskOptions:
        """Make a copy with some options changed."""
        return TaskOptions(**{**{name: getattr(self, name) for name in OPTIONS}, **changes})

    @property
    def is_about_calls(self) -> bool:
        """Whether an option decides when a call is ended or started again."""
        return self.timeout is not None or self.retries > 0 or self.idempotent

    @property
    def is_default(self) -> bool:
        """Whether every option has its default value."""
        return not any(getattr(self, name) for name in OPTIONS)


_DEFAULTS = {
    name: OPTIONS[name].check(name, default)
    for name, default in (WithOptions.with_options.__kwdefaults__ or {}).items()
}
"""The default of each option, in the form that `TaskOptions` holds; an option that is not in `OPTIONS` is an error."""
