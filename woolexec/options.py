"""The options of a task."""

from __future__ import annotations

from woolexec.checks import integer, positive_seconds, shown, wrong_type
from woolexec.resources import Line, Requirement

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from typing import Any, TypedDict

    class OptionValues(TypedDict, total=False):
        """The arguments of `with_options`."""

        timeout: float | None
        retries: int
        retry_on: type[BaseException] | Iterable[type[BaseException]]
        idempotent: bool
        name: str | None
        abandon_on_cancel: bool
        context_back: bool
        backend: str | None
        require: Mapping[str, float | str] | None
        near: str
        priority: int


BACKENDS = ("asyncio", "trio", None)


class TaskOptions:
    """
    Options of a task; immutable.  See `PeerPoolExecutor.with_options` for their meaning.

    :raises ValueError: for a value out of range
    :raises TypeError: for a value of the wrong type
    """

    __slots__ = (
        "abandon_on_cancel",
        "backend",
        "context_back",
        "idempotent",
        "line",
        "name",
        "near",
        "priority",
        "require",
        "retries",
        "retry_on_names",
        "timeout",
    )

    timeout: float | None
    retries: int
    retry_on_names: frozenset[str]
    idempotent: bool
    name: str | None
    abandon_on_cancel: bool
    context_back: bool
    backend: str | None
    require: Requirement | None
    near: str
    priority: int
    line: Line | None
    """The line in which the task waits; None: the default line."""

    def __init__(
        self,
        *,
        timeout: float | None = None,
        retries: int = 0,
        retry_on: type[BaseException] | Iterable[type[BaseException]] = (),
        idempotent: bool = False,
        name: str | None = None,
        abandon_on_cancel: bool = False,
        context_back: bool = False,
        backend: str | None = None,
        require: Mapping[str, float | str] | Requirement | None = None,
        near: str = "",
        priority: int = 0,
    ) -> None:
        timeout = positive_seconds("timeout", timeout)
        retries = integer("retries", retries)
        if retries < 0:
            raise ValueError(f"retries must not be negative: {retries}")
        if not isinstance(name, str | None):
            raise wrong_type("name", "a str or None", name)
        if not isinstance(near, str):
            raise wrong_type("near", "a str", near)
        priority = integer("priority", priority)
        if not -(1 << 31) <= priority < 1 << 31:
            raise ValueError(f"priority must fit into 32 bits: {priority}")
        if not isinstance(require, Requirement | None):
            require = Requirement(require)
            require = require if require.texts else None
        if not isinstance(backend, str | None):
            raise wrong_type("backend", "'asyncio', 'trio' or None", backend)
        if backend not in BACKENDS:
            raise ValueError(f"backend must be 'asyncio', 'trio' or None, not {backend!r}")
        types = _classes(retry_on)
        if types and not retries:
            raise ValueError(
                f"retry_on={shown(retry_on)} has no effect without retries: add retries=1, or leave it out"
            )
        set_ = object.__setattr__
        set_(self, "timeout", timeout)
        set_(self, "retries", retries)
        set_(self, "retry_on_names", frozenset(f"{cls.__module__}:{cls.__qualname__}" for cls in types))
        set_(self, "idempotent", bool(idempotent))
        set_(self, "name", name)
        set_(self, "abandon_on_cancel", bool(abandon_on_cancel))
        set_(self, "context_back", bool(context_back))
        set_(self, "backend", backend)
        set_(self, "require", require)
        set_(self, "near", near)
        set_(self, "priority", priority)
        set_(self, "line", Line(priority, require, near) if require or near or priority else None)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError("TaskOptions is immutable")

    @classmethod
    def restore(cls, names: Iterable[str], **values: Any) -> TaskOptions:
        """Make options from a frame, which gives the classes of `retry_on` by name."""
        options = cls(**values)
        object.__setattr__(options, "retry_on_names", frozenset(names))
        return options

    def replace(self, **changes: Any) -> TaskOptions:
        """Make a copy with some options changed."""
        values = {name: getattr(self, name) for name in _DEFAULTS}
        options = TaskOptions(**{**values, **changes})
        if "retry_on" not in changes:
            object.__setattr__(options, "retry_on_names", self.retry_on_names)
        return options

    @property
    def is_about_calls(self) -> bool:
        """Whether the options say when a call is ended or started again."""
        return self.timeout is not None or self.retries > 0 or self.idempotent

    @property
    def is_default(self) -> bool:
        """Whether every option has its default value."""
        return not self.retry_on_names and all(getattr(self, name) == value for name, value in _DEFAULTS.items())


def _classes(retry_on: Any) -> tuple[type[BaseException], ...]:
    """
    Return the exception classes given as `retry_on`.

    :raises TypeError: if one is not an exception class
    """
    expected = "an exception class, or several of them"
    if isinstance(retry_on, type):
        retry_on = (retry_on,)
    elif isinstance(retry_on, str):
        raise wrong_type("retry_on", expected, retry_on)
    try:
        classes = tuple(retry_on)
    except TypeError:
        raise wrong_type("retry_on", expected, retry_on) from None
    for cls in classes:
        if not (isinstance(cls, type) and issubclass(cls, BaseException)):
            raise wrong_type("retry_on", expected, cls)
    return classes


_DEFAULTS = {
    "timeout": None,
    "retries": 0,
    "idempotent": False,
    "name": None,
    "abandon_on_cancel": False,
    "context_back": False,
    "backend": None,
    "require": None,
    "near": "",
    "priority": 0,
}
